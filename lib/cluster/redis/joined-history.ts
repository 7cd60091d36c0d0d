import { createHash } from 'node:crypto'
import type { History } from '../directory.js'

/**
 * The histories of all shards as one, which is another one as soon as one of them is. The secret is that of the first.
 *
 * It never counts as one that began with nothing: a shard that is empty now may have kept the leases of nodes whose sessions are
 * still in other shards, and look dead there until they have noticed.
 */
export function joinHistories (histories: readonly History[]): History {
  const ids = histories.map(({ id }) => id).join()
  return {
    secret: String(histories[0]?.secret),
    id: createHash('sha256').update(ids).digest('base64url'),
    age: Math.min(...histories.map(({ age }) => age)),
    isFresh: false
  }
}
