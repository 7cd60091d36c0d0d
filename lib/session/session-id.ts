import { hash } from 'node:crypto'

/** The header that carries a session id, as Node.js spells header names. */
export const SESSION_HEADER = 'mcp-session-id'

// "MUST only contain visible ASCII characters (ranging from 0x21 to 0x7E)":
// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management
// The length is our own bound on what a stranger can make us look up.
const LONGEST = 256
// Every request is tested with it: to search for one wrong character takes half the time of matching all the right ones.
const NOT_VISIBLE = /[^\x21-\x7e]/

export function isSessionId (value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= LONGEST && !NOT_VISIBLE.test(value)
}

/**
 * A name for a session that can stand in a log: the id itself is a secret that
 * lets anyone who reads it speak for its owner.
 */
export function hashSessionId (id: string): string {
  return hash('sha256', id, 'hex').slice(0, 12)
}
