import type { SessionMetadata } from './session.js'

/**
 * A frozen shallow copy of `metadata`, merged over `base`.
 *
 * @throws TypeError when `metadata` is not an object
 */
export function copyMetadata (metadata: SessionMetadata, base?: Readonly<SessionMetadata>): Readonly<SessionMetadata> {
  if (typeof metadata !== 'object' || metadata === null) {
    throw new TypeError(`Session metadata must be an object, got ${metadata === null ? 'null' : typeof metadata}`)
  }
  try {
    return Object.freeze({ ...base, ...metadata })
  } catch {
    return Object.freeze({ ...base, ...readableEntries(metadata) })
  }
}

/** The keys, for a log entry. Not the values, which may be secrets. */
export function describeKeys (metadata: Readonly<SessionMetadata> | undefined): string {
  const keys = Object.keys(metadata ?? {})
  return keys.length === 0 ? '' : ` (metadata: ${keys.join(', ')})`
}

// A getter or a proxy may throw: then that entry is left out, and the others are kept.
function readableEntries (metadata: SessionMetadata): SessionMetadata {
  const entries: Array<[string, unknown]> = []
  for (const key of readableKeys(metadata)) {
    try {
      entries.push([key, metadata[key]])
    } catch {}
  }
  return Object.fromEntries(entries)
}

function readableKeys (metadata: SessionMetadata): string[] {
  try {
    return Object.keys(metadata)
  } catch {
    return []
  }
}
