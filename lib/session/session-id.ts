import { createHash } from 'node:crypto'

/** The header that carries a session id, as Node.js spells header names. */
export const SESSION_HEADER = 'mcp-session-id'

// "MUST only contain visible ASCII characters (ranging from 0x21 to 0x7E)":
// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management
// The length is our own bound on what a stranger can make us look up.
const WELL_FORMED = /^[\x21-\x7e]{1,256}$/

export function isSessionId (value: unknown): value is string {
  return typeof value === 'string' && WELL_FORMED.test(value)
}

/**
 * A name for a session that can stand in a log: the id itself is a secret that
 * lets anyone who reads it speak for its owner.
 */
export function hashSessionId (id: string): string {
  return createHash('sha256').update(id).digest('hex').slice(0, 12)
}
