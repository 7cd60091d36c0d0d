import type { RequestId } from '../../http/event-log.js'
import { isObject } from '../transport/json-rpc.js'

// The key in `_meta` under which a request of revision 2026-07-28 says of which revision it is.
const REVISION_CLAIM = 'io.modelcontextprotocol/protocolVersion'

/** The id of a request. Null: it asks for no answer. */
export function readId (body: unknown): RequestId | null {
  const id = readKey(body, 'id')
  return typeof id === 'string' || typeof id === 'number' ? id : null
}

export function readMethod (body: unknown): unknown {
  return readKey(body, 'method')
}

export function readParams (body: unknown): unknown {
  return readKey(body, 'params')
}

/** The revision that a request says it is of. */
export function readClaim (body: unknown): unknown {
  return readKey(readKey(readParams(body), '_meta'), REVISION_CLAIM)
}

function readKey (value: unknown, key: string): unknown {
  return isObject(value) ? value[key] : undefined
}
