/** Any value as text, even one that throws when it is converted. */
export function describeValue (value: unknown): string {
  try {
    return String(value)
  } catch {
    return `[${typeof value}]`
  }
}
