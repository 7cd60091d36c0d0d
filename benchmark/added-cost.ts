import { describe, median } from './statistics.js'

/** What a node and a bare proxy add to a call that they pass on, in microseconds. */
export class AddedCost {
  readonly #direct: number[] = []
  readonly #byNode: number[] = []
  readonly #byProxy: number[] = []
  readonly #ratios: number[] = []

  /** Rows of a call that is not passed on, one that a node passes on, one that a proxy passes on. */
  add (rows: ReadonlyArray<readonly number[]>): void {
    for (const [direct = NaN, throughNode = NaN, throughProxy = NaN] of rows) {
      this.#direct.push(direct)
      this.#byNode.push(throughNode - direct)
      this.#byProxy.push(throughProxy - direct)
      this.#ratios.push((throughNode - direct) / (throughProxy - direct))
    }
  }

  describeRatio (): string {
    return describe(this.#ratios)
  }

  describe (): string {
    const [direct, byNode, byProxy] = [this.#direct, this.#byNode, this.#byProxy].map((values) => median(values).toFixed(0))
    return `${direct} µs without, ${byNode} µs more through a node, ${byProxy} µs more through a proxy`
  }
}
