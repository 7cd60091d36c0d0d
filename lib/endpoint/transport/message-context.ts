import type { FastifyRequest } from 'fastify'
import { readAuthInfo, type AuthInfo } from '../auth-info.js'
import { toUrl, toWebRequest } from '../web-request.js'

/** What goes to a server with a message. The fields are those that the two SDKs read. */
export interface MessageContext {
  /** Read by SDK 1. */
  requestInfo?: RequestInfo
  /** Read by SDK 2. */
  request?: Request
  authInfo?: AuthInfo
  closeSSEStream?: () => void
  closeStandaloneSSEStream?: () => void
}

export type Sdk = 1 | 2

export function createContext (request: FastifyRequest, sdk: Sdk): MessageContext {
  const context: MessageContext = sdk === 1 ? { requestInfo: new RequestInfo(request) } : { request: createLazyRequest(request) }
  const authInfo = readAuthInfo(request)
  if (authInfo !== undefined) context.authInfo = authInfo
  return context
}

/** The request of a message as SDK 1 has it. Its URL is made when somebody asks for it, as few tools do. */
class RequestInfo {
  readonly headers: FastifyRequest['headers']
  readonly #request: FastifyRequest

  constructor (request: FastifyRequest) {
    this.headers = request.headers
    this.#request = request
  }

  get url (): URL {
    return new URL(toUrl(this.#request))
  }
}

/**
 * The request of a message as SDK 2 has it. It is made when somebody looks at it, as few tools do: that costs more than all the
 * rest that the endpoint does for a call.
 */
function createLazyRequest (request: FastifyRequest): Request {
  let made: Request | undefined
  const target: Request = Object.create(Request.prototype)
  return new Proxy(target, {
    get (_target, key) {
      made ??= toWebRequest(request)
      const value: unknown = Reflect.get(made, key)
      return typeof value === 'function' ? value.bind(made) : value
    },
    has: (_target, key) => key in Request.prototype
  })
}
