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

  /** Does nothing the second time. */
  end (outcome: Partial<M>): void {
    if (this.#isOver) return
    this.#isOver = true
    Object.assign(this.#message, outcome)
    this.#message.duration = performance.now() - this.#since
    // An answer can be there before the part that runs at once is over.
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

/** Undefined: nobody listens, and nothing is made. */
export function traceCall (describe: () => CallMessage): Trace<CallMessage> | undefined {
  const { call } = tracingChannels
  return isHeard(call) ? new Trace(call, describe()) : undefined
}

/** Undefined: nobody listens, and nothing is made. */
export function traceForward (describe: () => ForwardMessage): Trace<ForwardMessage> | undefined {
  const forward = tracingChannels['request.forwarded']
  return isHeard(forward) ? new Trace(forward, describe()) : undefined
}

// Whoever wants to know of an end or an error alone has a reason to hear of it.
function isHeard ({ start, end, asyncStart, asyncEnd, error }: TypedTracingChannel<CallMessage> | TypedTracingChannel<ForwardMessage>): boolean {
  return start.hasSubscribers || asyncEnd.hasSubscribers || asyncStart.hasSubscribers || error.hasSubscribers || end.hasSubscribers
}
