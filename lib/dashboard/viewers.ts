import type { TableQuery } from './query.js'
import { EventStream } from './event-stream.js'
import type { Look } from './state.js'

export interface ViewersOptions {
  /** What there is to see now. */
  readonly look: () => Look
  /** Called when somebody looks, after a time in which nobody did. */
  readonly onFirst: () => void
  /** Called when nobody looks any more. */
  readonly onLast: () => void
}

interface Viewer {
  readonly query: TableQuery
  /** The fingerprint of what it was told last. */
  seen: string
}

// How often a viewer is told of changes at most, in milliseconds.
const INTERVAL = 1000
// How many viewers there may be. Each browser tab is one.
const MOST_VIEWERS = 50

/** Those who have the page open now. Nothing runs while there are none. */
export class Viewers {
  readonly #look: () => Look
  readonly #onFirst: () => void
  readonly #onLast: () => void
  readonly #viewers = new Map<EventStream, Viewer>()
  #timer: NodeJS.Timeout | undefined

  constructor ({ look, onFirst, onLast }: ViewersOptions) {
    this.#look = look
    this.#onFirst = onFirst
    this.#onLast = onLast
  }

  get isFull (): boolean {
    return this.#viewers.size >= MOST_VIEWERS
  }

  get count (): number {
    return this.#viewers.size
  }

  /** Opens a stream that tells what the query asks for, at once and after each change. The viewer is gone when it closes. */
  open (query: TableQuery): EventStream {
    if (this.#viewers.size === 0) this.#begin()
    const stream = new EventStream()
    const look = this.#look()
    stream.sayState(JSON.stringify(look.make(query)))
    this.#viewers.set(stream, { query, seen: look.fingerprint })
    stream.once('close', () => this.#remove(stream))
    return stream
  }

  #begin (): void {
    this.#onFirst()
    this.#timer = setInterval(() => this.#tell(), INTERVAL)
    this.#timer.unref()
  }

  #remove (stream: EventStream): void {
    if (!this.#viewers.delete(stream) || this.#viewers.size > 0) return
    clearInterval(this.#timer)
    this.#onLast()
  }

  #tell (): void {
    const look = this.#look()
    // By query: viewers that ask the same get the same text.
    const states = new Map<string, string>()
    for (const [stream, viewer] of this.#viewers) {
      stream.lookAfter()
      if (!stream.wantsMore || viewer.seen === look.fingerprint) continue
      viewer.seen = look.fingerprint
      stream.sayState(write(look, viewer.query, states))
    }
  }
}

function write (look: Look, query: TableQuery, states: Map<string, string>): string {
  const key = JSON.stringify(query)
  const state = states.get(key) ?? JSON.stringify(look.make(query))
  states.set(key, state)
  return state
}
