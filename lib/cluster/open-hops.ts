/** A request that is on its way to another node, or its answer on the way back. */
export interface OpenHop {
  /** By which the other node knows it, too. */
  readonly id: string
  /** When something came of it last, on the clock of `performance.now`. Infinity: more is there than the client takes. */
  readonly quietSince: number
  /** Ends it, however far it has come. */
  cut (reason: Error): void
}

interface Entry {
  readonly hop: OpenHop
  /** When the other node was asked about it first of those times in a row in which it did not have it. */
  missingSince: number | undefined
}

/** What a node has said about hops that it was asked about. */
export interface Verdict {
  readonly hops: readonly OpenHop[]
  /** The ids of those that it has not. */
  readonly missing: ReadonlySet<string>
  /** When it was asked, on the clock of `performance.now`. */
  readonly asked: number
}

/** About so many hops a node is asked at a time: what fits into a header. */
const MOST_ASKED = 400

/**
 * A connection between two nodes was silent for too long, or the other node does not have what was sent on it. Whether
 * it has acted on it is not known.
 */
export class SilenceError extends Error {
  override name = 'SilenceError'

  constructor (message: string, cause?: unknown) {
    super(message, { cause })
  }
}

/** The hops of this node that are under way, by the node to which they lead. */
export class OpenHops {
  readonly #byNode = new Map<string, Set<Entry>>()

  /** @returns what ends it */
  add (node: string, hop: OpenHop): () => void {
    const entries = this.#byNode.get(node) ?? new Set()
    const entry = { hop, missingSince: undefined }
    this.#byNode.set(node, entries.add(entry))
    return () => {
      entries.delete(entry)
      if (entries.size === 0) this.#byNode.delete(node)
    }
  }

  /** Those to ask the node about: of which nothing was heard since then. Of many, those that have waited longest. */
  pick (node: string, since: number): OpenHop[] {
    const entries = this.#byNode.get(node) ?? new Set()
    const picked: Entry[] = []
    for (const entry of entries) {
      if (picked.length === MOST_ASKED) break
      if (entry.hop.quietSince <= since) picked.push(entry)
    }
    // To the end of the queue.
    for (const entry of picked) {
      entries.delete(entry)
      entries.add(entry)
    }
    return picked.map(({ hop }) => hop)
  }

  /**
   * Ends those that the node did not have any time it was asked for `patience` milliseconds. Once means nothing: the
   * request or the answer can be on its way.
   */
  judge (node: string, { hops, missing, asked, patience }: Verdict & { readonly patience: number }): void {
    const judged = new Set(hops)
    for (const entry of this.#byNode.get(node) ?? []) {
      const { hop } = entry
      if (!judged.has(hop)) continue
      if (!missing.has(hop.id)) {
        entry.missingSince = undefined
        continue
      }
      const since = Math.max(entry.missingSince ?? asked, Math.min(hop.quietSince, asked))
      entry.missingSince = since
      if (asked - since >= patience) hop.cut(new SilenceError('A connection is dead: the node has not got what was sent on it, or its answer is lost'))
    }
  }

  /** Ends those of which nothing was heard since then. */
  cutQuiet (node: string, since: number, reason: Error): void {
    for (const { hop } of this.#byNode.get(node) ?? []) if (hop.quietSince <= since) hop.cut(reason)
  }

  cutAll (reason: Error): void {
    for (const entries of this.#byNode.values()) for (const { hop } of entries) hop.cut(reason)
  }
}
