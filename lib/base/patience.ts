// Into how many parts a wait is cut: what a standstill can cost of it is one.
const PARTS = 10

/**
 * Calls back after `timeout` milliseconds, as far as this process has been able to listen. When it stood
 * still, be it for much work at once or because it was stopped, answers have come that it has not read: to
 * go by the clock would be to blame others for it. Never keeps the process alive.
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
