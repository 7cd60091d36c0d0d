import type { CreateMcpHandlerOptions, McpServer, McpServerFactory, Server } from '@modelcontextprotocol/server'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { MissingSdkError, ServerError } from '../../base/errors.js'
import { isMissingPackage } from '../../base/missing-package.js'
import { asError, runGuarded } from '../../base/safe-call.js'
import type { EventBus } from '../../http/event-bus.js'
import { readAuthInfo } from '../auth-info.js'
import type { ModernHandler } from './modern-handler.js'
import { fetchWith, type ModernLeg, type OpenStream } from './modern-leg.js'
import type { CreateDualServer, ModernServerContext, ResponseMode } from '../options.js'
import { createServerFactory, type ServerFactory } from '../server-factory.js'
import { endWhenUnwritable } from './unwritable-answer.js'

type Sdk = Pick<typeof import('@modelcontextprotocol/server'), 'createMcpHandler' | 'McpServer' | 'Server'>

export interface DualLegOptions {
  readonly sdk: Sdk
  readonly createServer: CreateDualServer
  readonly responseMode: ResponseMode
  /** Tells its streams what has changed. */
  readonly bus: EventBus
  readonly log: FastifyBaseLogger
}

/** @throws MissingSdkError when SDK 2 is not installed */
export async function loadSdk (load: () => Promise<Sdk> = () => import('@modelcontextprotocol/server')): Promise<Sdk> {
  try {
    return await load()
  } catch (reason) {
    throw isMissingPackage(reason) ? Object.assign(new MissingSdkError(), { cause: reason }) : asError(reason)
  }
}

/**
 * Serves revision 2026-07-28 with SDK 2's own handler. Its servers come from the same `createServer` that makes the servers of
 * sessions.
 */
export class DualLeg implements ModernLeg {
  readonly responseMode: ResponseMode
  readonly #sdk: Sdk
  readonly #makeServer: ServerFactory<ModernServerContext>
  readonly #options: CreateMcpHandlerOptions
  readonly #calls: ModernHandler
  readonly #requests = new WeakMap<Request, FastifyRequest>()
  // What createServer, or writing the answer, has failed with, by request: SDK 2 would answer all failures alike, or not at all.
  readonly #failures = new WeakMap<Request, Error>()

  constructor ({ sdk, createServer, responseMode, bus, log }: DualLegOptions) {
    this.#sdk = sdk
    this.responseMode = responseMode
    this.#makeServer = createServerFactory(createServer)
    this.#options = {
      legacy: 'reject',
      bus,
      // The heartbeats of the reply are enough.
      keepAliveMs: 0,
      onerror: (error) => log.info(error, 'A request of a client without a session was refused, or has failed')
    }
    // Not its own 'sse', with which answers that have another status would have 200.
    this.#calls = sdk.createMcpHandler(this.#create, { ...this.#options, responseMode: responseMode === 'json' ? 'json' : 'auto' })
  }

  fetch (request: FastifyRequest, target: Request): Promise<Response> {
    return this.#fetch(this.#calls, request, target)
  }

  // Each stream has a handler of its own, so that it can be ended with its result while calls are still running.
  async listen (request: FastifyRequest, target: Request): Promise<OpenStream> {
    const handler = this.#sdk.createMcpHandler(this.#create, this.#options)
    const response = await this.#fetch(handler, request, target)
    return { response, end: () => { handler.close() } }
  }

  async close (): Promise<void> {
    await this.#calls.close()
  }

  async #fetch (handler: ModernHandler, request: FastifyRequest, target: Request): Promise<Response> {
    this.#requests.set(target, request)
    const response = await fetchWith(handler, request, target)
    // What fails from now on has to be seen in the log.
    this.#requests.delete(target)
    const failure = this.#failures.get(target)
    if (failure !== undefined) throw failure
    return response
  }

  readonly #create: McpServerFactory = async ({ requestInfo }) => {
    const request = requestInfo && this.#requests.get(requestInfo)
    if (requestInfo === undefined || request === undefined) throw new Error('SDK 2 has asked for a server for no request')
    try {
      const server = await this.#makeServer({ era: 'modern', session: null, request, restored: false, authInfo: readAuthInfo(request) })
      if (this.#isOfSdk(server)) {
        endWhenUnwritable(server, (error) => this.#fail(requestInfo, request, error))
        return server
      }
      runGuarded(() => server.close(), (error) => request.log.error(error, 'Closing the MCP server failed'))
      throw new ServerError('one that is not of @modelcontextprotocol/server, as `import` finds it, for a client of 2026-07-28')
    } catch (reason) {
      const failure = asError(reason)
      this.#failures.set(requestInfo, failure)
      throw failure
    }
  }

  #fail (target: Request, request: FastifyRequest, error: Error): void {
    if (this.#requests.has(target)) this.#failures.set(target, error)
    else request.log.error(error, 'The answer to a call is not JSON, and has not been sent')
  }

  #isOfSdk (server: object): server is McpServer | Server {
    return server instanceof this.#sdk.McpServer || server instanceof this.#sdk.Server
  }
}
