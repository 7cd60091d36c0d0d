import type { FastifyReply, FastifyRequest } from 'fastify'
import { SessionNotFoundError, toJsonRpcError } from '../errors.js'
import { onResponseOver } from '../session/response-over.js'
import type { Session } from '../session/session.js'
import { readAuthInfo } from './auth-info.js'
import { EventBuffer } from './event-buffer.js'
import { readRequestIds } from './messages.js'
import type { ResolvedEndpointOptions, SessionServer } from './options.js'
import { SessionTransport } from './session-transport.js'
import { toTransportRequest } from './web-request.js'

interface RunningRequest {
  readonly body: unknown
  /** Has no effect once the transport has answered. */
  readonly answer: (response: Response) => void
}

/** A session that lives in this process: a transport, and the MCP server behind it. */
export class LiveSession {
  readonly session: Session
  readonly events: EventBuffer | undefined
  readonly #transport: SessionTransport
  readonly #running = new Set<RunningRequest>()
  #server: SessionServer | undefined

  /** @param onClosed called when the session ends from within: by DELETE, or by its own server */
  constructor (session: Session, { enableJsonResponse, resumable }: ResolvedEndpointOptions, onClosed: () => void) {
    this.session = session
    this.events = resumable && new EventBuffer(resumable.maxEvents)
    this.#transport = new SessionTransport({
      sessionIdGenerator: () => session.id,
      enableJsonResponse,
      // Heartbeats are the business of EventStream, which also knows when nobody reads them.
      keepAliveMs: 0,
      ...(this.events && { eventStore: this.events }),
      ...(resumable && { retryInterval: resumable.retryInterval })
    }, () => this.#answerRunning())
    this.#transport.onclose = onClosed
  }

  async connect (server: SessionServer): Promise<void> {
    this.#server = server
    await server.connect(this.#transport)
  }

  /** Hands a request on to the transport. */
  async handle (request: FastifyRequest, reply: FastifyReply): Promise<Response> {
    const authInfo = readAuthInfo(request)
    return new Promise((resolve, reject) => {
      const running: RunningRequest = { body: request.body, answer: resolve }
      this.#running.add(running)
      onResponseOver(request, reply, () => this.#running.delete(running))
      this.#transport.handleRequest(toTransportRequest(request), {
        parsedBody: request.body,
        ...(authInfo && { authInfo })
      }).then(resolve, reject)
    })
  }

  /** Opens the GET stream. The newest wins: the client has come back, and the old one may be dead without our knowing. */
  async openStream (request: FastifyRequest, reply: FastifyReply): Promise<Response> {
    const response = await this.handle(request, reply)
    if (response.status !== 409) return response
    this.endStream()
    return this.handle(request, reply)
  }

  /** Ends the GET stream, if there is one. */
  endStream (): void {
    this.#transport.closeStandaloneSSEStream()
  }

  /** Answers what the client still waits for, ends all streams and closes the server. */
  async close (): Promise<void> {
    await this.#transport.close()
    // In its own turn, for the answers of the transport are still on their way.
    setImmediate(() => this.#abandonRunning())
    await this.#server?.close()
  }

  async #answerRunning (): Promise<void> {
    const ids = Array.from(this.#running).flatMap(({ body }) => readRequestIds(body))
    // A call that has been answered meanwhile is no longer known to the transport.
    await Promise.allSettled(ids.map((id) => this.#transport.send({
      jsonrpc: '2.0', id, error: { code: -32001, message: 'Session closed' }
    })))
  }

  // The transport forgets a call whose id the client gives to another one, and would never answer it with JSON.
  #abandonRunning (): void {
    for (const { body, answer } of this.#running) {
      if (readRequestIds(body).length === 0) continue
      answer(Response.json(toJsonRpcError(new SessionNotFoundError()), { status: 404 }))
    }
  }
}
