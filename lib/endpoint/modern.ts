import type { FastifyRequest } from 'fastify'
import type { CallMessage } from '../observe/channels.js'
import { traceCall, type Trace } from '../observe/trace.js'
import { ShuttingDownError } from '../base/errors.js'
import { hasSessions, SESSION_REVISIONS } from '../http/protocol-revision.js'
import type { PluginContext } from '../http/plugin-context.js'
import { readAuthInfo } from './auth-info.js'
import type { ModernFetch, ResolvedEndpointOptions } from './options.js'
import { isObject } from './transport/json-rpc.js'
import type { Incoming } from './transport/session-transport.js'
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
  readonly #stream: { readonly heartbeatInterval: number, readonly maxBuffered: number }

  constructor (context: PluginContext, { modern, heartbeatInterval, maxBuffered }: ResolvedEndpointOptions) {
    this.#context = context
    this.#fetch = modern
    this.#stream = { heartbeatInterval, maxBuffered }
  }

  async handle ({ request, reply, record }: Incoming): Promise<void> {
    if (this.#fetch === undefined) {
      reply.code(400).send(toUnsupportedRevision(request))
      return
    }
    const isStream = record.kind === 'stream'
    if (isStream && this.#context.shutdown.hasStarted) throw new ShuttingDownError()
    const abort = new AbortController()
    if (isStream) record.endWith(() => abort.abort())
    record.onResponseEnd(() => { if (!reply.raw.writableEnded) abort.abort() })
    const authInfo = readAuthInfo(request)
    const fetch = this.#fetch
    const serve = async (): Promise<Response> => await fetch(toWebRequest(request, abort.signal), {
      parsedBody: request.body,
      ...(authInfo !== undefined && { authInfo })
    })
    const trace = traceModern(request)
    record.onOver(() => trace?.end(describeOutcome(reply.raw.statusCode)))
    const response = await (trace === undefined ? serve() : trace.run(serve))
    await sendWebResponse(reply, response, this.#stream)
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
        supported: SESSION_REVISIONS,
        requested: readClaim(body) ?? headers['mcp-protocol-version']
      }
    },
    id: readId(body)
  }
}

// Undefined: nobody listens, or it asks for nothing.
function traceModern ({ body, headers, server }: FastifyRequest): Trace<CallMessage> | undefined {
  const id = readId(body)
  const method = readKey(body, 'method')
  if (id === null || typeof method !== 'string') return undefined
  const params = readKey(body, 'params')
  return traceCall(() => ({
    sessions: server.sessionManager, session: undefined, method, id, params: isObject(params) ? params : undefined, headers
  }))
}

// The answer is a stream of bytes here, and not looked into.
function describeOutcome (statusCode: number): Partial<CallMessage> {
  return statusCode < 400 ? {} : { error: { code: statusCode, message: `Answered with ${statusCode}` } }
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
