import type { FastifyRequest } from 'fastify'

/** Whose a token is, and what it may be used for: the `AuthInfo` of both SDKs. */
export interface AuthInfo {
  /** The token as the client sent it; `''` will do, for tools need not know it. */
  token: string
  /** The id of the OAuth client. */
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

/** What the app's authentication has put on `request.auth`, if it has the shape that the SDKs expect. */
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
