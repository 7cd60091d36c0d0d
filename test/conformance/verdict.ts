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

/** The check that a scenario fails which shows nothing. */
export const NOTHING_SHOWN = 'nothing-shown'

/**
 * Stricter than the suite: it takes a SHOULD that is not met for a warning, and
 * a scenario that it gives up on for a pass, such as one that finds no session.
 */
export function judge (mode: string, revision: string, scenario: string, checks: Check[], expected: readonly ExpectedFailure[]): Verdict {
  const verdict: Verdict = { passed: 0, failures: [], excused: [] }
  const wrong = checks.filter(({ status }) => status !== 'SUCCESS' && status !== 'INFO')
  verdict.passed = checks.filter(({ id, status }) => status === 'SUCCESS' && !id.startsWith('wire-schema-')).length
  if (verdict.passed === 0 && wrong.length === 0) wrong.push({ id: NOTHING_SHOWN, status: 'FAILURE', errorMessage: 'no check succeeded' })
  for (const { id, status, errorMessage } of wrong) {
    const excuse = expected.find((entry) => entry.mode === mode && entry.revision === revision && entry.scenario === scenario && entry.check === id)
    if (excuse === undefined) verdict.failures.push(`${id}: ${status}: ${errorMessage ?? 'no message'}`)
    else verdict.excused.push(excuse)
  }
  return verdict
}
