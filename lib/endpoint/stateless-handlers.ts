import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { randomUUID } from 'node:crypto'
import { MethodNotAllowedError, ParseError } from '../errors.js'
import { runGuarded } from '../run-guarded.js'
import type { SessionLayer } from '../session/session-layer.js'
import { SessionRecord } from '../session/session-record.js'
import { readAuthInfo } from './auth-info.js'
import type { ResolvedEndpointOptions, SessionServer } from './options.js'
import type { EndpointHandlers } from './session-handlers.js'
import { toTransportRequest } from './web-request.js'
import { sendWebResponse } from './web-response.js'

/**
 * The handlers of an endpoint that keeps no sessions: each request gets a
 * server of its own, whose session ends with the response and is in no list.
 */
export function createStatelessHandlers ({ identify, reject }: SessionLayer, options: ResolvedEndpointOptions): EndpointHandlers {
  const { createServer, enableJsonResponse, heartbeatInterval } = options

  return { POST: handleMessage, GET: refuse, DELETE: refuse }

  async function handleMessage (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { body } = request
    if (body === undefined || body === null) return reject(request, reply, new ParseError('the body is empty'))
    const authInfo = readAuthInfo(request)
    const session = new SessionRecord(randomUUID(), Date.now(), undefined, { principal: await identify(request) })
    const server = await createServer({ session, request, restored: false })
    closeWith(reply, server, request)
    const transport = new WebStandardStreamableHTTPServerTransport({ enableJsonResponse, keepAliveMs: 0 })
    await server.connect(transport)
    const response = await transport.handleRequest(toTransportRequest(request), { parsedBody: body, ...(authInfo && { authInfo }) })
    return sendWebResponse(reply, response, { heartbeatInterval })
  }

  async function refuse (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    reply.header('allow', 'POST')
    return reject(request, reply, new MethodNotAllowedError())
  }
}

function closeWith (reply: FastifyReply, server: SessionServer, request: FastifyRequest): void {
  const close = (): void => runGuarded(() => server.close(), (error) => request.log.error(error, 'Closing the MCP server failed'))
  if (reply.raw.destroyed) close()
  else reply.raw.on('close', close)
}
