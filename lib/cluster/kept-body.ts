import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'

const BODILESS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS'])

/** Up to how many bytes of a body are kept, to be sent once more when a node that got them had no use for them. */
export const MOST_KEPT = 1024 * 1024

/**
 * The body of a client's request, which stays unread until somebody reads it, and can be read again from its
 * beginning by who comes next. Unlike a pipe or an iterator, the end of a reader leaves the request open, so that
 * the client can still get an answer.
 */
export class KeptBody {
  /** Whether any of it may have been sent to another node. */
  wasRead = false
  /** Whether the request has none of it any more, or not all. */
  isTaken = false
  readonly #raw: IncomingMessage
  #kept: Buffer[] = []
  #size = 0
  #hasEnded = false

  constructor (raw: IncomingMessage) {
    this.#raw = raw
  }

  get isEmpty (): boolean {
    const { headers: { 'content-length': length, 'transfer-encoding': encoding }, httpVersionMajor, method = '' } = this.#raw
    // HTTP/2 need not say ahead that there is a body.
    if (httpVersionMajor > 1 && length === undefined) return BODILESS.has(method)
    return encoding === undefined && Number(length ?? 0) === 0
  }

  /** Whether it can be read from its beginning: all that has been read was little enough to be kept. */
  get isWhole (): boolean {
    return this.#size <= MOST_KEPT
  }

  /** To be sent: all of it, when all has come, for one piece costs less than a stream. Undefined: it has none. */
  begin (): WholeBody | BodyReader | undefined {
    if (this.isEmpty) return undefined
    const data = this.#peek()
    if (data === undefined) return this.open()
    return new WholeBody(data, { onSend: () => { this.wasRead = true }, onDrop: () => this.#raw.resume() })
  }

  /** One reader at a time. */
  open (): BodyReader {
    const raw = this.#raw
    const onData = (chunk: Buffer): void => {
      this.#keep(chunk)
      if (!reader.push(chunk)) raw.pause()
    }
    const onEnd = (): void => {
      this.#hasEnded = true
      reader.push(null)
    }
    const reader = new BodyReader({
      begin: () => {
        this.wasRead = this.isTaken = true
        for (const chunk of this.#kept) reader.push(chunk)
        if (this.#hasEnded) reader.push(null)
        else raw.on('data', onData).once('end', onEnd)
      },
      resume: () => { raw.resume() },
      end: () => { raw.off('data', onData).off('end', onEnd) }
    })
    return reader
  }

  // The request has it still: who serves it here after all finds all as it was.
  #peek (): Buffer | undefined {
    const raw = this.#raw
    // A request is complete a little later than its body, and says nothing of its length when that comes in chunks.
    if (raw.readableFlowing !== null || raw.readableLength !== Number(raw.headers['content-length'])) return undefined
    const data: Buffer = raw.read()
    raw.unshift(data)
    return data
  }

  #keep (chunk: Buffer): void {
    this.#size += chunk.length
    if (this.isWhole) this.#kept.push(chunk)
    else this.#kept = []
  }
}

interface Source {
  begin: () => void
  resume: () => void
  end: () => void
}

interface WholeBodyListeners {
  readonly onSend: () => void
  readonly onDrop: () => void
}

/** A body that was there as a whole before it was sent. */
export class WholeBody {
  readonly data: Buffer
  wasRead = false
  readonly #listeners: WholeBodyListeners

  constructor (data: Buffer, listeners: WholeBodyListeners) {
    this.data = data
    this.#listeners = listeners
  }

  /** There is a connection, on which it is sent now. */
  send (): void {
    this.wasRead = true
    this.#listeners.onSend()
  }

  /** Nobody else needs it. */
  drop (): void {
    this.#listeners.onDrop()
  }
}

/** undici reads from a stream only when there is a connection to send it on. */
export class BodyReader extends Readable {
  wasRead = false
  readonly #source: Source

  constructor (source: Source) {
    super()
    this.#source = source
  }

  override _read (): void {
    if (!this.wasRead) {
      this.wasRead = true
      this.#source.begin()
    }
    this.#source.resume()
  }

  override _destroy (error: Error | null, done: (error: Error | null) => void): void {
    this.#source.end()
    done(error)
  }
}
