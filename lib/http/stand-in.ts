import type { FastifyRequest } from 'fastify'
import { randomUUID } from 'node:crypto'

/*
 * How the test kit says who is calling, in the place of `identify`. In an app that does not use the kit nothing here has
 * any effect. A header that comes from outside names nobody, because nobody outside can guess a token.
 */

/** Where a request of the test kit says who is calling, with a token. */
export const PRINCIPAL_HEADER = 'x-mcp-test-principal'

const tokens = new Map<string, string>()
const principals = new Map<string, string>()

/** The token with which a request comes from the principal, whatever `identify` would say. */
export function vouchFor (principal: string): string {
  const token = tokens.get(principal) ?? randomUUID()
  tokens.set(principal, token)
  principals.set(token, principal)
  return token
}

/** Who the test kit says is calling. Undefined: it says nothing. */
export function standInPrincipal ({ headers }: FastifyRequest): string | undefined {
  if (principals.size === 0) return undefined
  const token = headers[PRINCIPAL_HEADER]
  return typeof token === 'string' ? principals.get(token) : undefined
}
