// The parts of a bucket of the last hour, such as the reasons for which sessions have ended: names, each with a number.

import { count, visible } from './text.js'

const SLOTS = 7
export const OTHER = 'other'

/** Names with their sums, the greatest first. */
export function sumUp (all) {
  const sums = new Map()
  for (const parts of all) {
    for (const [name, value] of Object.entries(parts)) sums.set(name, (sums.get(name) ?? 0) + value)
  }
  return [...sums].filter(([, sum]) => sum > 0).sort((one, other) => other[1] - one[1])
}

export function inWords ([name, sum]) {
  return `${partName(name)} ${count.format(sum)}`
}

/** A name as it is shown: of the codes of this plugin without what they have in common. */
function partName (name) {
  return visible(name.replace(/^FST_ERR_MCP_SESSION_/, '').replaceAll('_', ' ').toLowerCase())
}

/** Gives each name a colour, which it keeps for as long as it is there. Names that find all colours taken are one: `other`. */
export class Palette {
  #slots = new Array(SLOTS).fill(undefined)

  /** @param sums as `sumUp` has them */
  assign (sums) {
    const names = sums.map(([name]) => name)
    this.#slots = this.#slots.map((name) => names.includes(name) ? name : undefined)
    for (const name of names) {
      const free = this.#slots.indexOf(undefined)
      if (free !== -1 && !this.#slots.includes(name)) this.#slots[free] = name
    }
  }

  /** Each name with its sum and the class of its colour, in the order of the colours; the others together, last. */
  apply (sums) {
    const own = this.#slots.flatMap((name, slot) => {
      return sums.filter((sum) => sum[0] === name).map(([, value]) => ({ name, value, series: `series-${slot}` }))
    })
    const others = sums.filter(([name]) => !this.#slots.includes(name)).reduce((sum, [, value]) => sum + value, 0)
    return others === 0 ? own : [...own, { name: OTHER, value: others, series: `series-${OTHER}` }]
  }
}
