import { startPatience } from '../base/patience.js'
import type { HopReport } from './hop-report.js'

/** A request that is on its way to another node, or its answer on the way back. */
export interface OpenHop {
  /** The name by which the other node knows it, too. */
  readonly id: string
  /** When something came of it last, on the clock of `performance.now`. Infinity: the client does not take what has come already. */
  readonly quietSince: number
  /** Bytes of the body of the answer that have come. */
  readonly received: number
  /** Their `content-encoding`; empty: none. Undefined: the answer has not begun. */
  readonly encoding: string | undefined
  /** Ends it, however far it has come. */
  cut (reason: Error): void
}

interface Entry {
  readonly hop: OpenHop
  /**
   * Since when it has been lost, by the answers of the other node: that it does not have it, or has written more than has
   * come. Undefined: the last answer was another.
   */
  missedSince: number | undefined
  /** Whether it is given up before the others, unless the other node says that it has it. */
  isUrgent: boolean
}

/** What a node has said about hops that it was asked about. */
export interface Verdict {
  readonly hops: readonly OpenHop[]
  readonly report: HopReport
  /** When it was asked, on the clock of `performance.now`. */
  readonly asked: number
}

// How many hops a node is asked about at a time: as many as fit into a header.
const MOST_ASKED = 400

/**
 * A connection between two nodes was silent for too long, or does not bring what is sent on it. It is not known whether the
 * other node has acted on the request.
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

  /**
   * @param patience milliseconds in which something must be heard of it. Left out: only `judge` and `cutQuiet` end it
   * @returns what takes it out again
   */
  add (node: string, hop: OpenHop, patience?: number): () => void {
    const entries = this.#byNode.get(node) ?? new Set()
    const entry: Entry = { hop, missedSince: undefined, isUrgent: patience !== undefined }
    this.#byNode.set(node, entries.add(entry))
    const began = hop.quietSince
    const endPatience = patience === undefined ? undefined : startPatience(patience, () => cutUnheard(entry, began))
    return () => {
      endPatience?.()
      entries.delete(entry)
      if (entries.size === 0) this.#byNode.delete(node)
    }
  }

  /**
   * The hops to ask the node about: those of which nothing was heard since then, and those that are urgent. Of many, those
   * that have waited longest.
   */
  pick (node: string, since: number): OpenHop[] {
    const entries = this.#byNode.get(node) ?? new Set()
    const picked: Entry[] = []
    for (const entry of entries) {
      if (picked.length === MOST_ASKED) break
      if (entry.hop.quietSince <= since || entry.isUrgent) picked.push(entry)
    }
    // They go to the end of the queue.
    for (const entry of picked) {
      entries.delete(entry)
      entries.add(entry)
    }
    return picked.map(({ hop }) => hop)
  }

  /**
   * Ends the hops of which nothing has come for `patience` milliseconds, and of which the node has said all that time that it
   * does not have them, or has written more than has come. To have said so once means nothing: the request or the answer can
   * be on its way.
   */
  judge (node: string, { hops, report, asked, patience }: Verdict & { readonly patience: number }): void {
    const judged = new Set(hops)
    for (const entry of this.#byNode.get(node) ?? []) {
      const { hop } = entry
      if (!judged.has(hop)) continue
      if (!isMissed(hop, report)) {
        entry.missedSince = undefined
        entry.isUrgent = false
        continue
      }
      const since = Math.max(entry.missedSince ?? asked, Math.min(hop.quietSince, asked))
      entry.missedSince = since
      if (asked - since < patience) continue
      hop.cut(new SilenceError('A connection is dead: the node has not got what was sent on it, or its answer is lost'))
    }
  }

  /** Is told that the node cannot be asked for now: that it has said nothing of its hops means nothing then. */
  wait (node: string): void {
    for (const entry of this.#byNode.get(node) ?? []) entry.isUrgent = false
  }

  /** Ends the hops to the node of which nothing was heard since then. */
  cutQuiet (node: string, since: number, reason: Error): void {
    for (const { hop } of this.#byNode.get(node) ?? []) if (hop.quietSince <= since) hop.cut(reason)
  }

  cutAll (reason: Error): void {
    for (const entries of this.#byNode.values()) for (const { hop } of entries) hop.cut(reason)
  }
}

function cutUnheard ({ hop, isUrgent }: Entry, began: number): void {
  if (isUrgent && hop.quietSince === began) hop.cut(new SilenceError('The node has not said in time that it has what was sent to it'))
}

function isMissed ({ id, received, encoding }: OpenHop, { missing, written }: HopReport): boolean {
  if (missing.has(id)) return true
  const body = written.get(id)
  // Something between the nodes may have compressed the answer: then the numbers cannot be compared.
  return body !== undefined && body.bytes > received && (encoding === undefined || body.encoding === encoding)
}
