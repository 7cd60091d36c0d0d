import type { FastifyRequest } from 'fastify'

/** Who a token is of, and what it may be used for: the `AuthInfo` of both SDKs. */
export interface AuthInfo {
  /** As the client sent it, or `''`: tools need not know it. */
  token: string
  /** Of the OAuth client. */
  clientId: string
  /** What the token is good for. */
  scopes: string[]
  /** Seconds since 1970. */
  expiresAt?: number
  /** The resource that the token is for, as RFC 8707 has it. */
  resource?: URL
  /** What else the app knows of it, such as the subject. */
  extra?: Record<string, unknown>
}

/** What the app's authentication has put on `request.auth`, if it is what the SDKs mean by it. */
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
