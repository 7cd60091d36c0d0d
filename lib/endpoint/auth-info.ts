import type { AuthInfo } from '@modelcontextprotocol/sdk/server/auth/types.js'
import type { FastifyRequest } from 'fastify'

/** What the app's authentication has put on `request.auth`, if it is what the SDK means by it. */
export function readAuthInfo (request: FastifyRequest): AuthInfo | undefined {
  const auth: unknown = 'auth' in request ? request.auth : undefined
  return isAuthInfo(auth) ? auth : undefined
}

function isAuthInfo (value: unknown): value is AuthInfo {
  return typeof value === 'object' && value !== null &&
    'token' in value && typeof value.token === 'string' &&
    'clientId' in value && typeof value.clientId === 'string' &&
    'scopes' in value && Array.isArray(value.scopes)
}
