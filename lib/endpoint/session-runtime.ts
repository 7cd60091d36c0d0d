import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { onResponseEnd } from '../http/response-end.js'
import type { ResumableEvents } from '../http/session-cluster.js'
import type { Session } from '../session/session.js'
import { withAuthInfo } from './auth-info.js'
import type { ClientSetup } from './client-setup.js'
import { readCancelledIds, readRequestIds } from './messages.js'
import type { ResolvedEndpointOptions, SessionServer } from './options.js'
import { SessionTransport } from './transport/session-transport.js'
import { toReplayRequest, toTransportRequest } from './web-request.js'

// How long the request that brings a session back waits for its new server, in milliseconds.
const REPLAY_PATIENCE = 1000

export interface SessionRuntimeOptions {
  readonly session: Session
  readonly endpoint: ResolvedEndpointOptions
  /** Undefined: streams cannot be resumed. */
  readonly events: ResumableEvents | undefined
  /** Undefined: the session will not be brought back anywhere. */
  readonly handshake: ClientSetup | undefined
  /** Called when the handshake has changed. */
  readonly onHandshake: (handshake: ClientSetup) => void
  /** Called when the session ends from within: by DELETE, or by its own server. */
  readonly onClosed: () => void
}

/** A session that lives in this process: a transport, and the MCP server behind it. */
export class SessionRuntime {
  readonly session: Session
  readonly events: ResumableEvents | undefined
  readonly #transport: SessionTransport
  // Replies under way, with the messages that they answer; streams answer none.
  readonly #running = new Map<FastifyReply, unknown>()
  #server: SessionServer | undefined

  constructor ({ session, endpoint, events, handshake, onHandshake, onClosed }: SessionRuntimeOptions) {
    const { resumable } = endpoint
    this.session = session
    this.events = events
    this.#transport = new SessionTransport({
      sessionIdGenerator: () => session.id,
      // Heartbeats are the business of EventStream, which also knows when nobody reads them.
      keepAliveMs: 0,
      ...(events && { eventStore: events }),
      ...(resumable && { retryInterval: resumable.retryInterval })
    }, () => this.#answerRunning())
    this.#transport.onclose = onClosed
    if (handshake === undefined) return
    // The server chains what it finds here before its own.
    this.#transport.onmessage = function noteHandshake (message) {
      if (handshake.observe(message)) onHandshake(handshake)
    }
  }

  /** How many streams are open that have no end of their own. */
  get streams (): number {
    let streams = 0
    for (const message of this.#running.values()) if (message === undefined) streams++
    return streams
  }

  async connect (server: SessionServer): Promise<void> {
    this.#server = server
    await server.connect(this.#transport)
  }

  /**
   * Says to a new server what the client had said to the last one: in its order, each when the one before is
   * answered. A server that has not answered all in time hears the rest at once, as it may from a client.
   * Resolves to the methods of what is not answered yet.
   */
  async replay (request: FastifyRequest, messages: Iterable<JSONRPCMessage & { readonly method: string }>): Promise<string[]> {
    const unanswered = new Set<{ readonly method: string }>()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => { timer = setTimeout(resolve, REPLAY_PATIENCE) })
    try {
      for (const message of messages) {
        unanswered.add(message)
        const said = this.#say(request, message).then(() => unanswered.delete(message))
        await Promise.race([said, late])
      }
    } finally {
      clearTimeout(timer)
    }
    return Array.from(unanswered, ({ method }) => method)
  }

  async #say (request: FastifyRequest, message: JSONRPCMessage): Promise<void> {
    const response = await this.#transport.handleRequest(toReplayRequest(this.session), withAuthInfo(request, message))
    await response.text()
  }

  /** Hands a request on to the transport. */
  async handle (request: FastifyRequest, reply: FastifyReply): Promise<Response> {
    const { body } = request
    this.#running.set(reply, body)
    onResponseEnd(request, reply, () => this.#running.delete(reply))
    const handle = (): Promise<Response> => this.#transport.handleRequest(toTransportRequest(request), withAuthInfo(request, body))
    if (this.events !== undefined) return this.events.during(readRequestIds(body), handle)
    const response = await handle()
    if (response.status === 202) this.#endCancelled(body)
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
