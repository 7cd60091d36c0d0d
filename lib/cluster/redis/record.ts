import type { JsonObject, NewSession, StoredSession } from '../directory.js'

/** What is under the key of a session is not the record of one. `message` says why, and holds nothing of what is there. */
export class UnreadableRecordError extends Error {
  override name = 'UnreadableRecordError'
}

const EPOCH = /^\d{16}-[\w-]+$/
const TIME = /^\d{1,15}(\.\d+)?$/

/** A record as a script takes it: names and values in turn. */
export function toFields (session: NewSession): string[] {
  const { id, principal, owner, createdAt, lastAccessedAt, metadata, state } = session
  const fields = ['id', id, 'owner', owner, 'createdAt', `${createdAt}`, 'lastAccessedAt', `${lastAccessedAt}`]
  if (principal !== undefined) fields.push('principal', principal)
  if (metadata !== undefined) fields.push('metadata', stringify(metadata))
  if (state !== undefined) fields.push('state', stringify(state))
  return fields
}

/**
 * The record that a script has answered with; undefined: there is none.
 *
 * @param isOwn whether an id is that of the session whose record it is to be
 * @throws UnreadableRecordError
 */
export function toRecord (reply: unknown, isOwn: (id: string) => boolean): StoredSession | undefined {
  if (!Array.isArray(reply) || reply.length === 0) return undefined
  if (reply.length === 1) throw new UnreadableRecordError('it is no hash')
  const fields = new Map<string, string>()
  for (let i = 0; i < reply.length; i += 2) fields.set(String(reply[i]), String(reply[i + 1]))
  const found = read(fields, 'id', /^[\x21-\x7e]{1,256}$/)
  if (!isOwn(found)) throw new UnreadableRecordError('it is that of another session')
  return {
    id: found,
    principal: fields.get('principal'),
    owner: fields.get('owner'),
    epoch: read(fields, 'epoch', EPOCH),
    createdAt: Number(read(fields, 'createdAt', TIME)),
    lastAccessedAt: Number(read(fields, 'lastAccessedAt', TIME)),
    metadata: readObject(fields, 'metadata'),
    state: readObject(fields, 'state')
  }
}

/** An object that was written as JSON. Undefined: it is no JSON, or no object. */
export function parseObject (text: unknown): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(String(text))
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** An object as JSON. Empty for one that is not to be there. */
export function stringify (value: JsonObject | undefined): string {
  return value === undefined ? '' : JSON.stringify(value)
}

function read (fields: ReadonlyMap<string, string>, name: string, pattern: RegExp): string {
  const value = fields.get(name)
  if (value === undefined || !pattern.test(value)) throw new UnreadableRecordError(`its field "${name}" is missing or broken`)
  return value
}

function readObject (fields: ReadonlyMap<string, string>, name: string): JsonObject | undefined {
  const text = fields.get(name)
  if (text === undefined) return undefined
  const value = parseObject(text)
  if (value === undefined) throw new UnreadableRecordError(`its field "${name}" is no JSON object`)
  return value
}

function isObject (value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
