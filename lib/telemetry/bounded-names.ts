/** What stands for all names that there was no room for: the conventions of OpenTelemetry have it so. */
export const OTHER = '_OTHER'

/**
 * Bounds names that clients make up, for places where each new one costs memory for good, such as an attribute of a metric.
 * The first ones are kept as they are, up to a number; all others become one.
 */
export class BoundedNames {
  readonly #max: number
  readonly #longest: number
  readonly #names = new Set<string>()

  /** @param longest name that is kept, in characters */
  constructor (max: number, longest = 100) {
    this.#max = max
    this.#longest = longest
  }

  bound (name: string): string {
    if (this.#names.has(name)) return name
    if (this.#names.size >= this.#max || name.length > this.#longest) return OTHER
    this.#names.add(name)
    return name
  }
}
