export interface Random {
  /** A whole number from 0 up to, and without, `bound`. */
  below (bound: number): number
  pick<T> (values: readonly T[]): T | undefined
}

/** Numbers that look random and are the same for the same seed (mulberry32). */
export function createRandom (seed: number): Random {
  let state = seed
  function next (): number {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return {
    below: (bound) => Math.floor(next() * bound),
    pick: (values) => values[Math.floor(next() * values.length)]
  }
}
