/**
 * Passes a call on, and drops those that come in the `interval` milliseconds after it: for what many would say at once, again
 * and again.
 *
 * @param now milliseconds on a clock that never goes back
 */
export function throttle<T extends unknown[]> (
  interval: number,
  call: (...args: T) => void,
  now = (): number => performance.now()
): (...args: T) => void {
  let until = -Infinity
  return function callUnlessTooSoon (...args) {
    const time = now()
    if (time < until) return
    until = time + interval
    call(...args)
  }
}
