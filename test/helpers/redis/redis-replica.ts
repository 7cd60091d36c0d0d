import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { RedisServer, whenUp } from './redis-server.js'

export interface Replica {
  readonly server: RedisServer
  stop (): Promise<void>
}

/** A replica of that server, which has all of its data. */
export async function startReplica (master: RedisServer, args: string[] = ['--replicaof', '127.0.0.1', `${master.port}`]): Promise<Replica> {
  // A replica writes what it copies to a file.
  const dir = mkdtempSync(join(tmpdir(), 'redis-replica-'))
  const server = await RedisServer.start({ args: ['--dir', dir, ...args] })
  await whenCopied(master)
  return {
    server,
    async stop () {
      await server.kill()
      rmSync(dir, { recursive: true, force: true })
    }
  }
}

/** Resolves when a replica has all that the server has, and copies what is written now. */
export async function whenCopied ({ url }: RedisServer): Promise<void> {
  const redis = new Redis(url)
  try {
    await whenUp('the replica', async () => {
      // Something has to be written first: otherwise WAIT says at once that every replica has it.
      await writeSomething(redis)
      return await redis.wait(1, 100) > 0
    })
  } finally {
    redis.disconnect()
  }
}

// Tries keys until one is in a slot of this server: a member of a cluster takes no others.
async function writeSomething (redis: Redis, attempt = 0): Promise<void> {
  const key = `warm-up-${attempt}`
  try {
    await redis.set(key, '')
    await redis.del(key)
  } catch (error) {
    if (!String(error).includes('MOVED')) throw error
    await writeSomething(redis, attempt + 1)
  }
}
