// A wait is this many timers, one after the other: a standstill can only use up the one that is running.
const PARTS = 10

/**
 * Calls back after `timeout` milliseconds in which this process was able to listen. While it stands still, because it is
 * busy or was stopped, answers arrive that it cannot read: by the clock alone, others would be blamed for that. Never keeps
 * the process alive.
 *
 * @returns what ends the wait
 */
export function startPatience (timeout: number, onOver: () => void): () => void {
  let parts = PARTS
  let timer: NodeJS.Timeout | undefined
  const next = (): void => {
    if (parts-- === 0) {
      onOver()
      return
    }
    timer = setTimeout(next, timeout / PARTS)
    timer.unref()
  }
  next()
  return () => clearTimeout(timer)
}
