export function median (values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2
}

/** The median, and between what bounds the middle half of the values lies. */
export function describe (values: readonly number[], digits = 3, unit = ''): string {
  const sorted = values.toSorted((a, b) => a - b)
  const quarter = sorted.length >> 2
  const low = sorted[quarter] ?? NaN
  const high = sorted[sorted.length - 1 - quarter] ?? NaN
  return `${median(values).toFixed(digits)}${unit} (middle half ${low.toFixed(digits)} to ${high.toFixed(digits)}, n = ${values.length})`
}
