import { createHash } from 'node:crypto'
import type { History } from '../directory.js'

/**
 * The histories of all shards as one, which changes as soon as one of them does. The secret is that of the first.
 *
 * It never counts as fresh. A shard that has begun with nothing may have had the leases of nodes whose sessions are still in
 * other shards: until those nodes have noticed, they look dead.
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
