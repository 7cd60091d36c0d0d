import type { FastifyReply, FastifyRequest } from 'fastify'
import { isRequest, type JSONRPCMessage, type JSONRPCRequest } from './json-rpc.js'

/** What SDK 2 says of a request whose caller lacks a scope. */
export interface ScopeChallenge {
  readonly scopes: readonly string[]
  readonly errorDescription?: string | undefined
}

export type ScopeChallengeResolver = (context: { request: JSONRPCRequest, authInfo?: object }) =>
  ScopeChallenge | undefined | Promise<ScopeChallenge | undefined>

/** The challenge of the first request for which its caller lacks a scope. */
export async function findScopeChallenge (
  resolve: ScopeChallengeResolver,
  messages: readonly JSONRPCMessage[],
  authInfo: object | undefined
): Promise<ScopeChallenge | undefined> {
  for (const request of messages.filter(isRequest)) {
    const challenge = await resolve({ request, ...(authInfo !== undefined && { authInfo }) })
    if (challenge !== undefined) return challenge
  }
  return undefined
}

/**
 * Answers with what the caller has to ask its authorization server for.
 *
 * @see https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization#runtime-insufficient-scope-errors
 * @see https://www.rfc-editor.org/rfc/rfc6750#section-3.1
 */
export function sendScopeChallenge (
  request: FastifyRequest,
  reply: FastifyReply,
  { scopes, errorDescription = 'Insufficient scope' }: ScopeChallenge,
  authInfo: object | undefined
): void {
  const parameters = {
    error: 'insufficient_scope',
    error_description: errorDescription,
    scope: scopes.join(' ') || undefined,
    resource_metadata: readMetadataUrl(authInfo)
  }
  const header = Object.entries(parameters)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}="${quote(String(value))}"`)
  request.log.info({ scopes }, 'The caller lacks a scope')
  reply.code(403).header('www-authenticate', `Bearer ${header.join(', ')}`).type('application/json; charset=utf-8')
  reply.send(JSON.stringify({ error: parameters.error, error_description: errorDescription }))
}

// The URL of the metadata of the protected resource: where the SDK's helpers for authentication have put it, or the well-known
// one of the resource (RFC 9728, section 3.1).
function readMetadataUrl (authInfo: object | undefined): string | undefined {
  if (authInfo === undefined) return undefined
  if ('resourceMetadataUrl' in authInfo && typeof authInfo.resourceMetadataUrl === 'string') return authInfo.resourceMetadataUrl
  if (!('resource' in authInfo) || !(authInfo.resource instanceof URL) || !/^https?:$/.test(authInfo.resource.protocol)) return undefined
  const { origin, pathname, search } = authInfo.resource
  return `${origin}/.well-known/oauth-protected-resource${pathname.replace(/\/$/, '')}${search}`
}

// A header can hold nothing but printable ASCII, and in a quoted string quotes and backslashes are escaped.
function quote (text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').replace(/["\\]/g, '\\$&')
}
