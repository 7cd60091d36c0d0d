import { tracingChannels, type CallMessage, type ForwardMessage, type TypedTracingChannel } from './channels.js'

type Traced = CallMessage | ForwardMessage

/** Something that is being traced, from its start to its one end. */
export class Trace<M extends Traced> {
  readonly #channel: TypedTracingChannel<M>
  readonly #message: M
  readonly #since = performance.now()
  #isRunning = false
  #isOver = false

  constructor (channel: TypedTracingChannel<M>, message: M) {
    this.#channel = channel
    this.#message = message
  }

  /** Runs the part that begins it, in whatever context a listener has bound to it. */
  run<T> (work: () => T): T {
    const { start, end } = this.#channel
    this.#isRunning = true
    return start.runStores(this.#message, () => {
      try {
        return work()
      } finally {
        this.#isRunning = false
        end.publish(this.#message)
        if (this.#isOver) this.#publishEnd()
      }
    })
  }

  /** Tells how it ended, once: a second call does nothing. */
  end (outcome: Partial<M>): void {
    if (this.#isOver) return
    this.#isOver = true
    Object.assign(this.#message, outcome)
    this.#message.duration = performance.now() - this.#since
    // An answer that comes while run() is still going is told after it.
    if (!this.#isRunning) this.#publishEnd()
  }

  #publishEnd (): void {
    const { error, asyncStart, asyncEnd } = this.#channel
    const message = this.#message
    if (message.error !== undefined) error.publish(message)
    asyncStart.publish(message)
    asyncEnd.publish(message)
  }
}

/** The trace of a call. Undefined when nobody listens: then nothing is made. */
export function traceCall (describe: () => CallMessage): Trace<CallMessage> | undefined {
  const { call } = tracingChannels
  return isHeard(call) ? new Trace(call, describe()) : undefined
}

/** The trace of a request that is passed on. Undefined when nobody listens: then nothing is made. */
export function traceForward (describe: () => ForwardMessage): Trace<ForwardMessage> | undefined {
  const forward = tracingChannels['request.forwarded']
  return isHeard(forward) ? new Trace(forward, describe()) : undefined
}

// A listener of any of the five is enough: one may want to hear of errors alone.
function isHeard (channel: TypedTracingChannel<CallMessage> | TypedTracingChannel<ForwardMessage>): boolean {
  const { start, end, asyncStart, asyncEnd, error } = channel
  return start.hasSubscribers || asyncEnd.hasSubscribers || asyncStart.hasSubscribers || error.hasSubscribers || end.hasSubscribers
}
