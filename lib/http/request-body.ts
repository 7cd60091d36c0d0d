import type { IncomingMessage } from 'node:http'

/** Whether a request whose headers are here says that a body follows. */
export function hasBodyToCome (raw: IncomingMessage): boolean {
  const { 'content-length': length, 'transfer-encoding': encoding } = raw.headers
  if (length !== undefined) return Number(length) > 0
  return raw.httpVersionMajor === 1 ? encoding !== undefined : !endsAfterHeaders(raw)
}

// HTTP/2 need not announce a body: without one, its stream ends with the headers.
function endsAfterHeaders (raw: object): boolean {
  const stream: unknown = Reflect.get(raw, 'stream')
  return typeof stream === 'object' && stream !== null && Reflect.get(stream, 'endAfterHeaders') === true
}
