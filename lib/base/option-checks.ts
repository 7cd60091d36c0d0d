import { describeValue } from './describe-value.js'
import { editDistance } from './edit-distance.js'

// setInterval() and setTimeout() fire after 1 ms when they are given more than this.
const LONGEST_TIMER = 2_147_483_647
// An unknown name may have been meant for a known one that differs in at most this many letters.
const MISSPELT = 2
// Or for one that contains it, or that it contains: shorter pieces are in too many names.
const TELLING = 3

/** @throws TypeError that says what the option must be */
export function refuse (name: string, expected: string, value: unknown): never {
  const shown = typeof value === 'string' ? JSON.stringify(value) : describeValue(value)
  const type = value === undefined || value === null ? '' : ` (${typeof value})`
  throw new TypeError(`Option "${name}" must be ${expected}, got ${shown}${type}`)
}

/** @throws TypeError unless `value` is a finite number of milliseconds that is not negative */
export function checkMilliseconds (name: string, value: unknown, zeroMeans: string): number {
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return value
  refuse(name, `a number of milliseconds >= 0 (0: ${zeroMeans})`, value)
}

/** @throws TypeError unless `value` is a number of milliseconds that a timer can wait */
export function checkTimer (name: string, value: unknown, zeroMeans: string): number {
  const milliseconds = checkMilliseconds(name, value, zeroMeans)
  if (milliseconds <= LONGEST_TIMER) return milliseconds
  refuse(name, `at most ${LONGEST_TIMER} ms, the longest a timer can wait`, value)
}

/** The delay itself, or the nearest one that a timer can wait. */
export function clampToTimer (milliseconds: number): number {
  return Math.min(Math.max(1, milliseconds), LONGEST_TIMER)
}

/** @throws TypeError unless `value` is a positive integer, or undefined */
export function checkCount<T extends number | undefined> (name: string, value: T): T {
  if (value === undefined || (Number.isSafeInteger(value) && value > 0)) return value
  refuse(name, 'a whole number > 0', value)
}

/** @throws TypeError unless `value` is a boolean */
export function checkBoolean (name: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value
  refuse(name, 'true or false', value)
}

/** @throws TypeError unless `value` is a function, or undefined */
export function checkFunction<T> (name: string, value: T, signature: string): T {
  if (value === undefined || typeof value === 'function') return value
  refuse(name, `a function ${signature}`, value)
}

/** @throws TypeError unless `value` is an object with the method, or undefined */
export function checkMethod<T extends object> (
  name: string,
  value: T | undefined,
  method: keyof T & string,
  signature: string
): T | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'object' && value !== null && typeof value[method] === 'function') return value
  refuse(name, `an object with a method ${method}${signature}`, value)
}

/** @throws TypeError unless `value` is an array of strings, or undefined */
export function checkList (name: string, value: readonly string[] | undefined): readonly string[] | undefined {
  if (value === undefined) return undefined
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return [...value]
  refuse(name, 'an array of strings', value)
}

/**
 * @param where the option that has these options within it, such as `cluster`
 * @throws TypeError for a name that is not known, with the one that was probably meant
 */
export function checkNames (options: object, known: readonly string[], where?: string): void {
  const unknown = Object.keys(options).find((name) => !known.includes(name))
  if (unknown === undefined) return
  const inside = where === undefined ? '' : `${where}.`
  const meant = findMeant(unknown, known)
  const hint = meant === undefined ? `known are ${known.join(', ')}` : `did you mean "${inside}${meant}"?`
  throw new TypeError(`Unknown option "${inside}${unknown}": ${hint}`)
}

function findMeant (unknown: string, known: readonly string[]): string | undefined {
  const written = unknown.toLowerCase()
  return known
    .map((name) => ({ name, distance: editDistance(written, name.toLowerCase()) }))
    .filter(({ name, distance }) => isMisspelt(written, distance) || isPart(written, name.toLowerCase()))
    .toSorted((one, other) => one.distance - other.distance)[0]?.name
}

// With half of its letters changed, a short word could have been meant for any other short word.
function isMisspelt (written: string, distance: number): boolean {
  return distance <= MISSPELT && distance < written.length / 2
}

function isPart (written: string, name: string): boolean {
  return written.length >= TELLING && (name.includes(written) || written.includes(name))
}
