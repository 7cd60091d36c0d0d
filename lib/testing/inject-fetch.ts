import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import { Readable } from 'node:stream'

// By the Fetch standard, a Response with one of these statuses cannot have a body, not even an empty one.
const WITHOUT_BODY = new Set([101, 204, 205, 304])

/**
 * A `fetch` that hands requests to the app, without a port: give it to the transport of an SDK's client. Whatever the
 * host of a URL, the request comes to this app. Bodies are streamed both ways; aborting a request, or cancelling the
 * body of its response, ends it for the app as a client does that hangs up. Redirects are not followed.
 *
 * It rejects as `fetch` does: with the reason of the signal, or with a `TypeError` that has a `cause`.
 *
 * @example
 * ```ts
 * const transport = new StreamableHTTPClientTransport(new URL('http://localhost/mcp'), { fetch: injectFetch(app) })
 * ```
 */
export function injectFetch (app: FastifyInstance): typeof fetch {
  return async function fetchFromApp (input, init) {
    const request = new Request(input, init)
    request.signal.throwIfAborted()
    const connection = new AbortController()
    const hangUp = (): void => connection.abort()
    request.signal.addEventListener('abort', hangUp, { once: true })
    try {
      const injected = await app.inject({ ...await toInjection(request, init), signal: connection.signal })
      return toResponse(request, injected, hangUp)
    } catch (reason) {
      request.signal.throwIfAborted()
      throw new TypeError('fetch failed', { cause: reason })
    }
  }
}

async function toInjection (request: Request, init: RequestInit | undefined): Promise<InjectOptions> {
  const { host, pathname, search } = new URL(request.url)
  const payload = await readBody(request, init)
  return {
    method: request.method,
    url: pathname + search,
    headers: {
      host,
      accept: '*/*',
      'user-agent': 'node',
      ...(payload instanceof Readable && { 'transfer-encoding': 'chunked' }),
      ...Object.fromEntries(request.headers)
    },
    ...(payload !== undefined && { payload }),
    payloadAsStream: true
  }
}

// A body that was given whole has a length; only a stream goes out in chunks.
async function readBody (request: Request, init: RequestInit | undefined): Promise<Buffer | Readable | undefined> {
  if (request.body === null) return undefined
  if (init?.body instanceof ReadableStream) return Readable.fromWeb(request.body)
  return Buffer.from(await request.arrayBuffer())
}

function toResponse (request: Request, injected: LightMyRequestResponse, hangUp: () => void): Response {
  const { statusCode, statusMessage, headers, stream } = injected
  const hasBody = request.method !== 'HEAD' && !WITHOUT_BODY.has(statusCode)
  const source = stream()
  const response = new Response(hasBody ? toBody(source, request.signal, hangUp) : null, {
    status: statusCode,
    statusText: statusMessage,
    headers: toHeaders(headers)
  })
  if (!hasBody) source.resume()
  return Object.defineProperty(response, 'url', { value: request.url })
}

function toHeaders (headers: LightMyRequestResponse['headers']): Headers {
  const result = new Headers()
  for (const [name, value] of Object.entries(headers)) {
    for (const one of [value].flat()) if (one !== undefined) result.append(name, String(one))
  }
  return result
}

function toBody (source: Readable, signal: AbortSignal, hangUp: () => void): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start (controller) {
      source.on('data', (chunk: Buffer) => {
        controller.enqueue(new Uint8Array(chunk))
        source.pause()
      })
      source.once('end', () => controller.close())
      source.once('error', (cause) => controller.error(signal.aborted ? signal.reason : new TypeError('terminated', { cause })))
      source.pause()
    },
    pull () {
      source.resume()
    },
    cancel () {
      source.removeAllListeners('data')
      source.on('error', () => {})
      hangUp()
    }
  })
}
