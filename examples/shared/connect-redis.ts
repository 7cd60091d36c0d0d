import type { Redis } from 'ioredis'

/** A client for the URL, or nothing where there is none: sessions then live in memory, and ioredis is not needed. */
export async function connectRedis (url: string | undefined): Promise<Redis | undefined> {
  if (url === undefined) return undefined
  const ioredis = await import('ioredis')
  const redis = new ioredis.Redis(url)
  // The plugin says when Redis is away; without a listener ioredis prints every attempt.
  redis.on('error', () => {})
  return redis
}
