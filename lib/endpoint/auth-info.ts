import type { AuthInfo } from '@modelcontextprotocol/sdk/server/auth/types.js'
import type { HandleRequestOptions } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js'
import type { FastifyRequest } from 'fastify'

/** What goes to a transport with a message: what the app's authentication has put on `request.auth`, if it is what the SDK means by it. */
export function withAuthInfo (request: FastifyRequest, parsedBody: unknown): HandleRequestOptions {
  const auth: unknown = 'auth' in request ? request.auth : undefined
  return isAuthInfo(auth) ? { parsedBody, authInfo: auth } : { parsedBody }
}

function isAuthInfo (value: unknown): value is AuthInfo {
  return typeof value === 'object' && value !== null &&
    'token' in value && typeof value.token === 'string' &&
    'clientId' in value && typeof value.clientId === 'string' &&
    'scopes' in value && Array.isArray(value.scopes)
}
