import type { FastifyReply } from 'fastify'
import { EventStream, sendEvents, setEventHeaders, type EventStreamOptions } from './event-stream.js'
import type { EventSink } from './outlet.js'

export interface PostStreamOptions extends EventStreamOptions {
  /** Whether the head is not sent before the stream ends, because it depends on what is in the stream. */
  readonly holdHead: boolean
}

/**
 * The events of a POST. Most calls are answered before the event loop turns: their events are sent in one piece, which costs
 * half as much as a stream.
 */
export class PostStream implements EventSink {
  readonly #reply: FastifyReply
  readonly #options: PostStreamOptions
  readonly #turn: NodeJS.Immediate | undefined
  #held = ''
  #stream: EventStream | undefined
  #isOver = false

  constructor (reply: FastifyReply, options: PostStreamOptions) {
    this.#reply = reply
    this.#options = options
    if (!options.holdHead) this.#turn = setImmediate(() => this.#open())
  }

  get isOver (): boolean {
    return this.#isOver || this.#stream?.isOver === true
  }

  write (text: string): void {
    if (this.#stream !== undefined) {
      this.#stream.write(text)
      return
    }
    this.#held += text
    if (!this.#options.holdHead && this.#held.length > this.#options.maxBuffered) this.#open()
  }

  end (): void {
    if (this.isOver) return
    this.#close()
    if (this.#stream !== undefined) {
      this.#stream.end()
    } else if (!this.#reply.sent) {
      setEventHeaders(this.#reply)
      this.#reply.send(this.#held)
    }
  }

  fail (error: Error): void {
    if (this.isOver) return
    this.#close()
    if (this.#stream !== undefined) this.#stream.fail()
    else if (!this.#reply.sent) this.#reply.send(error)
  }

  /** Is told that the connection has gone. */
  destroy (): void {
    this.#close()
    this.#stream?.destroy()
  }

  #open (): void {
    if (this.isOver || this.#stream !== undefined) return
    if (this.#reply.sent) {
      // The reply may have been sent by somebody else, such as a timeout of the app.
      this.#close()
      return
    }
    this.#stream = new EventStream(this.#options)
    if (this.#held !== '') this.#stream.write(this.#held)
    this.#held = ''
    sendEvents(this.#reply, this.#stream)
  }

  #close (): void {
    this.#isOver = true
    clearImmediate(this.#turn)
  }
}
