import type { FastifyRequest } from 'fastify'
import { UnsupportedRevisionError } from '../base/errors.js'

/** The revisions of MCP with sessions, the newest first. There will be no more of them. */
export const SESSION_REVISIONS: readonly string[] = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05', '2024-10-07']

/** The revision of a request without the header `MCP-Protocol-Version`. */
export const DEFAULT_REVISION = '2025-03-26'

/** The first revision of MCP without sessions: a server must ignore the session header of its requests. */
const FIRST_WITHOUT_SESSIONS = '2026-07-28'

/**
 * Whether a request with this `MCP-Protocol-Version` header may belong to a
 * session. Revisions compare as strings, as in the official SDK; none at all
 * means 2025-03-26.
 */
export function hasSessions (revision: string | string[] | undefined): boolean {
  return revision === undefined || String(revision) < FIRST_WITHOUT_SESSIONS
}

/**
 * The revision that a server agrees to when a client asks for this one.
 *
 * @see https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#version-negotiation
 */
export function negotiateRevision (requested: string): string {
  return SESSION_REVISIONS.includes(requested) ? requested : String(SESSION_REVISIONS[0])
}

/** @throws UnsupportedRevisionError for a request of another revision than these */
export function requireRevision ({ headers }: FastifyRequest, revisions: readonly string[]): void {
  const revision = headers['mcp-protocol-version']
  if (revision === undefined || revisions.includes(String(revision))) return
  throw new UnsupportedRevisionError(String(revision), revisions.join(', '))
}
