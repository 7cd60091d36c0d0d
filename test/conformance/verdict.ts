import type { ExpectedFailure } from './expected-failures.js'

/** One entry of a scenario's `checks.json`, as far as it matters here. */
export interface Check {
  id: string
  status: string
  errorMessage?: string
}

export interface Verdict {
  passed: number
  /** What is wrong and was not expected to be, one line each. */
  failures: string[]
  /** What is wrong as expected. */
  excused: ExpectedFailure[]
}

/**
 * Stricter than the suite: it takes a SHOULD that is not met for a warning, and
 * a scenario that it gives up on for a pass, such as one that finds no session.
 */
export function judge (revision: string, scenario: string, checks: Check[], expected: readonly ExpectedFailure[]): Verdict {
  const verdict: Verdict = { passed: 0, failures: [], excused: [] }
  for (const { id, status, errorMessage } of checks) {
    if (status === 'SUCCESS' && !id.startsWith('wire-schema-')) verdict.passed++
    if (status === 'SUCCESS' || status === 'INFO') continue
    const excuse = expected.find((entry) => entry.revision === revision && entry.scenario === scenario && entry.check === id)
    if (excuse === undefined) verdict.failures.push(`${id}: ${status}: ${errorMessage ?? 'no message'}`)
    else verdict.excused.push(excuse)
  }
  if (verdict.passed === 0 && verdict.excused.length === 0 && verdict.failures.length === 0) {
    verdict.failures.push('no check succeeded, so nothing was shown')
  }
  return verdict
}
