import type { FastifyReply, FastifyRequest } from 'fastify'
import { onResponseOver } from '../session/response-over.js'
import type { Session } from '../session/session.js'
import { readAuthInfo } from './auth-info.js'
import { EventBuffer } from './event-buffer.js'
import { readCancelledIds, readRequestIds } from './messages.js'
import type { ResolvedEndpointOptions, SessionServer } from './options.js'
import { SessionTransport } from './session-transport.js'
import { toTransportRequest } from './web-request.js'

/** A session that lives in this process: a transport, and the MCP server behind it. */
export class LiveSession {
  readonly session: Session
  readonly events: EventBuffer | undefined
  readonly #transport: SessionTransport
  // Replies under way, with the messages that they answer.
  readonly #running = new Map<FastifyReply, unknown>()
  #server: SessionServer | undefined

  /** @param onClosed called when the session ends from within: by DELETE, or by its own server */
  constructor (session: Session, { resumable }: ResolvedEndpointOptions, onClosed: () => void) {
    this.session = session
    this.events = resumable && new EventBuffer(resumable.maxEvents)
    this.#transport = new SessionTransport({
      sessionIdGenerator: () => session.id,
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
    this.#running.set(reply, request.body)
    onResponseOver(request, reply, () => this.#running.delete(reply))
    const response = await this.#transport.handleRequest(toTransportRequest(request), {
      parsedBody: request.body,
      ...(authInfo && { authInfo })
    })
    if (response.status === 202) this.#endCancelled(request.body)
    return response
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
    await this.#server?.close()
  }

  // The SDK rightly sends no response to a call that has been cancelled, but leaves its stream open.
  // With event ids the client would only come back for it.
  #endCancelled (body: unknown): void {
    if (this.events !== undefined) return
    for (const cancelled of readCancelledIds(body)) {
      for (const running of this.#running.values()) {
        const [id, ...others] = readRequestIds(running)
        if (id === cancelled && others.length === 0) this.#transport.closeSSEStream(id)
      }
    }
  }

  async #answerRunning (): Promise<void> {
    const ids = Array.from(this.#running.values()).flatMap(readRequestIds)
    // A call that has been answered meanwhile is no longer known to the transport.
    await Promise.allSettled(ids.map((id) => this.#transport.send({
      jsonrpc: '2.0', id, error: { code: -32001, message: 'Session closed' }
    })))
  }
}
