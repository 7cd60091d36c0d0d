import { setTimeout } from 'node:timers/promises'

/** Resolves with the work, or without it after `timeout` milliseconds. */
export async function atMost (timeout: number, work: Promise<unknown>): Promise<void> {
  const timer = new AbortController()
  try {
    await Promise.race([work, setTimeout(timeout, undefined, { signal: timer.signal })])
  } finally {
    timer.abort()
  }
}
