/** Something of which a principal has several. */
export interface Weighed {
  readonly count: number
}

/** The principals that have several sessions, by how many they have. */
export class PrincipalWeights<P extends Weighed> {
  readonly #byCount = new Map<number, Set<P>>()
  #most = 0

  /** Is told that the principal has one session more, or one less, than `before`. */
  update (principal: P, before: number): void {
    const { count } = principal
    this.#leave(principal, before)
    if (count < 2) return
    const equals = this.#byCount.get(count) ?? new Set()
    equals.add(principal)
    this.#byCount.set(count, equals)
    this.#most = Math.max(this.#most, count)
  }

  /** Those with the most sessions, then those with the next fewer, and so on. */
  * heaviestFirst (): Generator<Iterable<P>> {
    const heaviest = this.#byCount.get(this.#most)
    if (heaviest === undefined) return
    yield heaviest
    // There are few different counts, however many principals there are.
    const rest = Array.from(this.#byCount).filter(([count]) => count < this.#most)
    for (const [, principals] of rest.sort(([one], [other]) => other - one)) yield principals
  }

  #leave (principal: P, count: number): void {
    const equals = this.#byCount.get(count)
    if (equals === undefined) return
    equals.delete(principal)
    if (equals.size > 0) return
    this.#byCount.delete(count)
    // It was alone with the most sessions. With one less it still has the most, unless it has fewer than two now.
    if (count === this.#most) this.#most = principal.count > 1 ? principal.count : Math.max(0, ...this.#byCount.keys())
  }
}
