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
