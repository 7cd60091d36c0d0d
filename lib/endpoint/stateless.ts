import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { randomUUID } from 'node:crypto'
import { InvalidRequestError, MethodNotAllowedError, ParseError } from '../base/errors.js'
import { runGuarded } from '../base/safe-call.js'
import { hasResponseEnded, onResponseEnd } from '../http/response-end.js'
import type { PluginContext } from '../http/plugin-context.js'
import { SessionRecord } from '../session/session-record.js'
import { withAuthInfo } from './auth-info.js'
import { createServerFactory } from './server-factory.js'
import type { ResolvedEndpointOptions } from './options.js'
import type { EndpointHandlers } from './session-handlers.js'
import { toTransportRequest } from './web-request.js'
import { sendAnswer } from './web-response.js'

/**
 * The handlers of an endpoint that keeps no sessions: each request gets a
 * server of its own, whose session ends with the response and is in no list.
 */
export function createStatelessHandlers ({ identify, reject }: PluginContext, options: ResolvedEndpointOptions): EndpointHandlers {
  const makeServer = createServerFactory(options.createServer)

  return { POST: handleMessage, GET: refuse, DELETE: refuse }

  async function handleMessage (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { body } = request
    if (body === undefined || body === null) return reject(request, reply, new ParseError('the body is empty'))
    const session = new SessionRecord(randomUUID(), Date.now(), undefined, { principal: await identify(request) })
    const server = await makeServer({ session, request, restored: false })
    onResponseEnd(request, reply, () => {
      runGuarded(() => server.close(), (error) => request.log.error(error, 'Closing the MCP server failed'))
    })
    if (hasResponseEnded(request, reply)) throw new InvalidRequestError('the client has gone')
    const transport = new WebStandardStreamableHTTPServerTransport({ keepAliveMs: 0 })
    await server.connect(transport)
    const response = await transport.handleRequest(toTransportRequest(request), withAuthInfo(request, body))
    return sendAnswer(request, reply, response, options)
  }

  async function refuse (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    reply.header('allow', 'POST')
    return reject(request, reply, new MethodNotAllowedError())
  }
}
