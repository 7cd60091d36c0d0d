/*
 * Sessions are in 64 shards, each with a hash tag: what one script has to see at once is in one shard, and on Redis Cluster
 * a shard is on one machine. The tags are chosen so that each lies in another 64th of the slots: machines that have equal
 * parts of the slots have equal parts of the sessions. More than 64 machines would not all get some.
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
