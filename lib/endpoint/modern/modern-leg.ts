import type { FastifyRequest } from 'fastify'
import { describeValue } from '../../base/describe-value.js'
import type { ServerChange } from '../../http/announcements.js'
import type { PluginContext } from '../../http/plugin-context.js'
import { readAuthInfo } from '../auth-info.js'
import type { ModernHandler } from './modern-handler.js'
import type { ResponseMode } from '../options.js'

export interface OpenStream {
  readonly response: Response
  /** Ends the stream in good order. Undefined: only `close()` does. */
  readonly end?: () => void
}

/** What serves the requests of revision 2026-07-28. */
export interface ModernLeg {
  /** How calls are to be answered. Undefined: in the way that the handler answers them. */
  readonly responseMode: ResponseMode | undefined
  /** @param target the same request, as a web `Request` */
  fetch (request: FastifyRequest, target: Request): Promise<Response>
  /** Serves a request that opens a stream without an end. */
  listen (request: FastifyRequest, target: Request): Promise<OpenStream>
  /** Ends the streams that are left, in good order, and the calls that still run. */
  close (): Promise<void>
}

/** A handler that the app has made. */
export class GivenLeg implements ModernLeg {
  readonly responseMode = undefined
  readonly #handler: ModernHandler
  readonly #stopTelling: (() => void) | undefined

  constructor (handler: ModernHandler, { announcements, bus }: Pick<PluginContext, 'announcements' | 'bus'>) {
    this.#handler = handler
    // A handler on our own bus hears of everything there.
    if (handler.bus === bus) return
    this.#stopTelling = announcements.subscribe(({ change, audience }) => {
      // Only what is for everybody: whose its streams are nobody can tell.
      if (audience.session === undefined && audience.principal === undefined) tell(handler, change)
    })
  }

  fetch (request: FastifyRequest, target: Request): Promise<Response> {
    return fetchWith(this.#handler, request, target)
  }

  // Without an `end`: only close() of the handler ends a stream with its result, and it ends running calls as well.
  async listen (request: FastifyRequest, target: Request): Promise<OpenStream> {
    return { response: await this.fetch(request, target) }
  }

  async close (): Promise<void> {
    this.#stopTelling?.()
    await this.#handler.close()
  }
}

function tell ({ bus, notify }: ModernHandler, change: ServerChange): void {
  if (bus !== undefined) return bus.publish(change)
  switch (change.kind) {
    case 'tools_list_changed': return notify?.toolsChanged()
    case 'prompts_list_changed': return notify?.promptsChanged()
    case 'resources_list_changed': return notify?.resourcesChanged()
    case 'resource_updated': return notify?.resourceUpdated(change.uri)
  }
}

export async function fetchWith (handler: ModernHandler, request: FastifyRequest, target: Request): Promise<Response> {
  const authInfo = readAuthInfo(request)
  const response: unknown = await handler.fetch(target, { parsedBody: request.body, ...(authInfo !== undefined && { authInfo }) })
  // Not by its class: frameworks have classes of their own for it.
  if (!isResponse(response)) throw new TypeError(`modern.fetch() must return a Response, not ${describeValue(response)}`)
  return response
}

function isResponse (value: unknown): value is Response {
  return typeof value === 'object' && value !== null && 'status' in value && 'headers' in value && 'body' in value
}
