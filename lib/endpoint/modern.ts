import { SUPPORTED_PROTOCOL_VERSIONS } from '@modelcontextprotocol/sdk/types.js'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ShuttingDownError } from '../base/errors.js'
import { hasSessions } from '../http/protocol-revision.js'
import { onResponseEnd } from '../http/response-end.js'
import type { PluginContext } from '../http/plugin-context.js'
import { withAuthInfo } from './auth-info.js'
import type { ModernFetch, ResolvedEndpointOptions } from './options.js'
import { toWebRequest } from './web-request.js'
import { sendWebResponse } from './web-response.js'

// All from revision 2026-07-28 of MCP.
const REVISION_CLAIM = 'io.modelcontextprotocol/protocolVersion'
const UNSUPPORTED_PROTOCOL_VERSION = -32022
const LISTEN = 'subscriptions/listen'

/** Whether a request is of revision 2026-07-28 or later: it says so in its header, or in its body. */
export function isModern (request: FastifyRequest): boolean {
  return !hasSessions(request.headers['mcp-protocol-version']) || readClaim(request.body) !== undefined
}

/** Whether a request opens a stream that has no end of its own. */
export function isListening ({ body }: FastifyRequest): boolean {
  return readKey(body, 'method') === LISTEN
}

/** The requests of an endpoint that are of revision 2026-07-28 or later, which has no sessions. */
export class ModernRequests {
  readonly #context: PluginContext
  readonly #fetch: ModernFetch | undefined
  readonly #heartbeatInterval: number
  // The streams that have no end of their own.
  readonly #listening = new Set<AbortController>()

  constructor (context: PluginContext, { modern, heartbeatInterval }: ResolvedEndpointOptions) {
    this.#context = context
    this.#fetch = modern
    this.#heartbeatInterval = heartbeatInterval
  }

  async handle (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    if (this.#fetch === undefined) return reply.code(400).send(toUnsupportedRevision(request))
    const { reject, shutdown } = this.#context
    if (shutdown.hasStarted && isListening(request)) return reject(request, reply, new ShuttingDownError())
    const abort = this.#abortWith(request, reply)
    const response = await this.#fetch(toWebRequest(request, abort.signal), withAuthInfo(request, request.body))
    return sendWebResponse(reply, response, { heartbeatInterval: this.#heartbeatInterval })
  }

  endStreams (): void {
    for (const abort of this.#listening) abort.abort()
  }

  #abortWith (request: FastifyRequest, reply: FastifyReply): AbortController {
    const abort = new AbortController()
    if (isListening(request)) this.#listening.add(abort)
    onResponseEnd(request, reply, () => {
      this.#listening.delete(abort)
      if (!reply.raw.writableEnded) abort.abort()
    })
    return abort
  }
}

/** The answer that makes a modern client fall back to a revision with sessions. */
function toUnsupportedRevision ({ body, headers }: FastifyRequest): object {
  return {
    jsonrpc: '2.0',
    error: {
      code: UNSUPPORTED_PROTOCOL_VERSION,
      message: 'Unsupported protocol version',
      data: {
        supported: SUPPORTED_PROTOCOL_VERSIONS,
        requested: readClaim(body) ?? headers['mcp-protocol-version']
      }
    },
    id: readId(body)
  }
}

function readClaim (body: unknown): unknown {
  return readKey(readKey(readKey(body, 'params'), '_meta'), REVISION_CLAIM)
}

function readId (body: unknown): string | number | null {
  const id = readKey(body, 'id')
  return typeof id === 'string' || typeof id === 'number' ? id : null
}

function readKey (value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined
}
