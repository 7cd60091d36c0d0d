import { Writable } from 'node:stream'

export interface LogCapture {
  /** What pino has written, one line of JSON each. */
  readonly lines: string[]
  readonly stream: Writable
}

export function captureLog (): LogCapture {
  const lines: string[] = []
  const stream = new Writable({
    decodeStrings: false,
    write (chunk, _encoding, callback) {
      lines.push(String(chunk))
      callback()
    }
  })
  return { lines, stream }
}
