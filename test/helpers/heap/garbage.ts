import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')

/** Frees what nobody refers to any more. */
export const collectNow: () => void = runInNewContext('gc')

/** Collects garbage, in several rounds: what a finalizer or a job lets go of in one is garbage in the next. */
export async function collectGarbage (): Promise<void> {
  for (let round = 0; round < 5; round++) {
    await turn()
    collectNow()
  }
}

/** Counts objects that are still in memory. */
export class Census {
  readonly #all: Array<WeakRef<object>> = []

  add (object: object): void {
    this.#all.push(new WeakRef(object))
  }

  get seen (): number {
    return this.#all.length
  }

  /** How many are left after a collection. */
  async countLive (): Promise<number> {
    await collectGarbage()
    return this.#all.filter((reference) => reference.deref() !== undefined).length
  }
}
