import type { CallMessage } from '../../observe/channels.js'
import type { RequestId } from '../../http/event-log.js'
import { isObject } from '../transport/json-rpc.js'

type Outcome = Pick<CallMessage, 'result' | 'error'>

// In characters. To parse a larger answer would cost more than it tells.
const LARGEST = 1_000_000
const END_OF_EVENT = /\r\n\r\n|\n\n|\r\r/
const LONGEST_END = 4
const END_OF_LINE = /\r\n|\n|\r/
const DATA = /^data: ?/
const ANSWER = /"(?:result|error)"/

/** Reads the answer to a call of 2026-07-28 out of the bytes on their way to the client. */
export class HeardAnswer {
  readonly #id: RequestId
  readonly #tell: (outcome: Outcome) => void
  readonly #decoder = new TextDecoder()
  // The pieces of the event that is not complete yet.
  #pieces: string[] = []
  #length = 0
  #tail = ''

  /** @param tell called with the answer, if it can be read */
  constructor (id: RequestId, tell: (outcome: Outcome) => void) {
    this.#id = id
    this.#tell = tell
  }

  /** Is given the whole answer. */
  hearJson (answer: string | Uint8Array): void {
    // There are at least as many bytes as characters.
    if (answer.length <= LARGEST) this.#read(typeof answer === 'string' ? answer : this.#decoder.decode(answer))
  }

  /** Is given a piece of a stream of events. It may begin and end in the middle of one. */
  hearEvents (chunk: Uint8Array): void {
    const piece = this.#decoder.decode(chunk, { stream: true })
    // The end of an event can be spread over several pieces.
    const seam = this.#tail + piece
    if (!END_OF_EVENT.test(seam)) {
      this.#keep(piece, seam)
      return
    }
    const events = this.#isTooLarge ? seam.split(END_OF_EVENT).slice(1) : (this.#pieces.join('') + piece).split(END_OF_EVENT)
    const begun = events.splice(-1).join('')
    for (const event of events) this.#readEvent(event)
    this.#pieces = []
    this.#length = 0
    this.#keep(begun, begun)
  }

  get #isTooLarge (): boolean {
    return this.#length > LARGEST
  }

  #keep (piece: string, seam: string): void {
    this.#length += piece.length
    this.#tail = seam.slice(1 - LONGEST_END)
    if (this.#isTooLarge) this.#pieces = []
    else this.#pieces.push(piece)
  }

  #readEvent (event: string): void {
    const lines = event.split(END_OF_LINE).filter((line) => DATA.test(line))
    if (lines.length > 0) this.#read(lines.map((line) => line.replace(DATA, '')).join('\n'))
  }

  #read (text: string): void {
    // Most events of a stream are notifications, and not worth parsing.
    if (text.length > LARGEST || !ANSWER.test(text)) return
    const answer = parse(text)
    if (!isObject(answer) || answer['id'] !== this.#id) return
    const { result, error } = answer
    if (isObject(error)) this.#tell({ error: { code: Number(error['code']), message: String(error['message']) } })
    else if (result !== undefined) this.#tell({ result })
  }
}

// A handler of the app need not answer with JSON.
function parse (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
