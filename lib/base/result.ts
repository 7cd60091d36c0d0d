/** What an operation that never throws gives back. */
export type Result<T, E = Error> =
  | { readonly success: true, readonly data: T }
  | { readonly success: false, readonly error: E }

// One object for every success without a value: touch() is called on each request.
const done: Result<void, never> = Object.freeze({ success: true, data: undefined })

export function succeed (): Result<void, never> {
  return done
}

export function fail<E> (error: E): Result<never, E> {
  return { success: false, error }
}
