import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'

const BODILESS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS'])

/** How many bytes of a body are kept at most, to be sent once more when the first node that got them does not serve the session. */
export const MOST_KEPT = 1024 * 1024

/**
 * The body of a client's request. It stays unread until somebody reads it, and the next reader can read it again from its
 * beginning. Unlike with a pipe or an iterator, the request stays open when a reader ends, so that the client can still get
 * an answer.
 */
export class KeptBody {
  /** Whether any of it may have been sent to another node. */
  wasRead = false
  /** Whether some of it has been taken out of the request. */
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
    // HTTP/2 need not announce a body.
    if (httpVersionMajor > 1 && length === undefined) return BODILESS.has(method)
    return encoding === undefined && Number(length ?? 0) === 0
  }

  /** Whether it can be read from its beginning: no more has been read than is kept. */
  get isWhole (): boolean {
    return this.#size <= MOST_KEPT
  }

  /** The body to be sent: in one piece if all of it has come, for that costs less, or else as a stream. Undefined: there is none. */
  begin (): WholeBody | BodyReader | undefined {
    if (this.isEmpty) return undefined
    const data = this.#peek()
    if (data === undefined) return this.open()
    return new WholeBody(data, { onSend: () => { this.wasRead = true }, onDrop: () => this.#raw.resume() })
  }

  /** Reads it from its beginning. There may be one reader at a time. */
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

  // The whole body, which stays in the request, so that this node can still serve the request itself. Undefined: not all is there.
  #peek (): Buffer | undefined {
    const raw = this.#raw
    // `raw.complete` comes too late, and in chunks the length is not known.
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

/** A body that has come as a whole before it is sent. */
export class WholeBody {
  readonly data: Buffer
  wasRead = false
  readonly #listeners: WholeBodyListeners

  constructor (data: Buffer, listeners: WholeBodyListeners) {
    this.data = data
    this.#listeners = listeners
  }

  /** Is told that there is a connection, on which it is sent now. */
  send (): void {
    this.wasRead = true
    this.#listeners.onSend()
  }

  /** Is told that nobody else needs it. */
  drop (): void {
    this.#listeners.onDrop()
  }
}

/** A body that is read while it is sent. undici begins to read when there is a connection to send it on. */
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
