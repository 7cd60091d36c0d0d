import type { SessionState } from '../http/session-cluster.js'
import type { ClientInfo, RestoredOrigin, Session } from '../session/session.js'
import type { JsonObject, StoredSession } from './directory.js'

/** What the directory keeps of a session besides its metadata. */
export function writeState ({ clientInfo, protocolVersion }: Session, state: SessionState | undefined): JsonObject {
  return { clientInfo, protocolVersion, ...state }
}

/** Who opened a session, as the directory has it. */
export function readOrigin ({ principal, createdAt, state }: StoredSession): RestoredOrigin {
  const { clientInfo, protocolVersion } = state ?? {}
  return {
    principal,
    createdAt,
    clientInfo: isClientInfo(clientInfo) ? clientInfo : undefined,
    protocolVersion: typeof protocolVersion === 'string' ? protocolVersion : undefined
  }
}

/** A copy of `value` as JSON keeps it. @throws TypeError when it is circular */
export function toJson (value: Readonly<JsonObject> | undefined): JsonObject | undefined {
  if (value === undefined) return undefined
  const copy: JsonObject = JSON.parse(JSON.stringify(value))
  return copy
}

function isClientInfo (value: unknown): value is ClientInfo {
  return typeof value === 'object' && value !== null &&
    'name' in value && typeof value.name === 'string' && 'version' in value && typeof value.version === 'string'
}
