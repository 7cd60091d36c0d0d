export function median (values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2
}

/** The value that a part of all values, such as 0.99, does not exceed. */
export function quantile (values: readonly number[], part: number): number {
  return values.toSorted((a, b) => a - b)[Math.ceil(values.length * part) - 1] ?? NaN
}

/** The median, and between what bounds the middle half of the values lies. */
export function describe (values: readonly number[], digits = 3, unit = ''): string {
  const sorted = values.toSorted((a, b) => a - b)
  const quarter = sorted.length >> 2
  const low = sorted[quarter] ?? NaN
  const high = sorted[sorted.length - 1 - quarter] ?? NaN
  return `${median(values).toFixed(digits)}${unit} (middle half ${low.toFixed(digits)} to ${high.toFixed(digits)}, n = ${values.length})`
}

/** Takes every measurement once a round, every other round in the opposite order. Returns the figures of each round. */
export async function alternate (rounds: number, measurements: ReadonlyArray<() => Promise<number>>): Promise<number[][]> {
  const rows: number[][] = []
  for (let round = 0; round < rounds; round++) {
    const row: number[] = []
    const order = Array.from(measurements.entries())
    if (round % 2 === 1) order.reverse()
    for (const [index, measure] of order) row[index] = await measure()
    rows.push(row)
  }
  return rows
}
