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
  // It writes what it copies to a file.
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

/** Resolves when a replica has all that the server has, and what is written now as well. */
export async function whenCopied ({ url }: RedisServer): Promise<void> {
  const redis = new Redis(url)
  try {
    await whenUp('the replica', async () => {
      await redis.publish('warm-up', '')
      return await redis.wait(1, 100) > 0
    })
  } finally {
    redis.disconnect()
  }
}
