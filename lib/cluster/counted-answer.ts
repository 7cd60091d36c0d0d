import type { ServerResponse } from 'node:http'
import type { ServedHop } from './hop-report.js'

/** Counts what is written in answer to a request that another node has passed on: by Fastify, or by an app on the raw response. */
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

  /** All of it is on its way, or in the hands of the system. */
  get isAnswered (): boolean {
    return this.#response.writableEnded
  }
}

function readEncoding (encoding: unknown): BufferEncoding | undefined {
  return typeof encoding === 'string' && Buffer.isEncoding(encoding) ? encoding : undefined
}
