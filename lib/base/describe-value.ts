/** Any value as text, one included that fails when it is asked for it. */
export function describeValue (value: unknown): string {
  try {
    return String(value)
  } catch {
    return `[${typeof value}]`
  }
}
