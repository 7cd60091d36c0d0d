/*
 * Sessions are in 64 shards, each with a hash tag. On Redis Cluster a shard is on one machine, and what one script has to see
 * at once is in one shard. The tags are chosen so that each lies in another 64th of the slots: so machines that have equal
 * parts of the slots have equal parts of the sessions. Of more than 64 machines some would get none.
 */

const SHARDS = 64

/** The hash tags of all shards. */
export const ALL_SHARDS: readonly string[] = Array.from({ length: SHARDS }, (_, number) => tagOf(number))

/** The hash tag of the shard for what has that digest. */
export function shardOf (digest: Uint8Array): string {
  return tagOf(Number(digest[0]) % SHARDS)
}

function tagOf (number: number): string {
  return `${number.toString(8).padStart(2, '0')}shard`
}
