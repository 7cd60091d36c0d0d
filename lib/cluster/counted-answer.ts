import type { ServerResponse } from 'node:http'
import type { ServedHop } from './hop-report.js'

/**
 * Counts the bytes that are written in answer to a request that another node has passed on, be it by Fastify or by an app on
 * the raw response.
 */
export class CountedAnswer implements ServedHop {
  written = 0
  readonly #response: ServerResponse

  constructor (response: ServerResponse) {
    this.#response = response
    const write = response.write
    response.write = (chunk: string | Uint8Array, ...rest: unknown[]) => {
      this.written += typeof chunk === 'string' ? Buffer.byteLength(chunk, readEncoding(rest[0])) : chunk.byteLength
      return Reflect.apply(write, response, [chunk, ...rest])
    }
  }

  get encoding (): string {
    return String(this.#response.getHeader('content-encoding') ?? '')
  }

  /** Whether all of the answer has been handed to Node.js. */
  get isAnswered (): boolean {
    return this.#response.writableEnded
  }
}

function readEncoding (encoding: unknown): BufferEncoding | undefined {
  return typeof encoding === 'string' && Buffer.isEncoding(encoding) ? encoding : undefined
}
