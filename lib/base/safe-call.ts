import { describeValue } from './describe-value.js'

/**
 * Runs code of the app that must not be able to break ours. What it throws, or
 * rejects with later, goes to `onFailure`.
 */
export function runGuarded (work: () => unknown, onFailure: (error: Error) => void): void {
  const report = (reason: unknown): void => onFailure(asError(reason))
  try {
    const result = work()
    if (isThenable(result)) result.then(undefined, report)
  } catch (reason) {
    report(reason)
  }
}

/** Whatever was thrown, as an `Error`. */
export function asError (reason: unknown): Error {
  return isError(reason) ? reason : new Error(describeValue(reason), { cause: reason })
}

function isError (reason: unknown): reason is Error {
  try {
    return reason instanceof Error
  } catch {
    // `instanceof` throws for a proxy that has been revoked.
    return false
  }
}

function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
