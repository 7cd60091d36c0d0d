import { Redis } from 'ioredis'

/** A client for the URL, or nothing where there is none: sessions then live in memory. */
export function connectRedis (url: string | undefined): Redis | undefined {
  if (url === undefined) return undefined
  const redis = new Redis(url)
  // The plugin says when Redis is away; without a listener ioredis prints every attempt.
  redis.on('error', () => {})
  return redis
}
