import { randomUUID } from 'node:crypto'

const LENGTH = 36

/**
 * Session ids that are kept as bytes, so that every read gives a new flat
 * string whose hash is not known yet, as a header of a request is.
 */
export class SessionIds {
  readonly #bytes: Buffer

  constructor (count: number) {
    this.#bytes = Buffer.alloc(count * LENGTH)
    for (let index = 0; index < count; index++) {
      this.#bytes.write(randomUUID(), index * LENGTH, 'latin1')
    }
  }

  get count (): number {
    return this.#bytes.length / LENGTH
  }

  at (index: number): string {
    return this.#bytes.toString('latin1', index * LENGTH, (index + 1) * LENGTH)
  }

  /** All indexes, each once, in random order. */
  shuffledIndexes (): Uint32Array {
    const indexes = Uint32Array.from({ length: this.count }, (_, index) => index)
    for (let last = indexes.length - 1; last > 0; last--) {
      const other = Math.floor(Math.random() * (last + 1))
      const index = indexes[last] ?? 0
      indexes[last] = indexes[other] ?? 0
      indexes[other] = index
    }
    return indexes
  }
}
