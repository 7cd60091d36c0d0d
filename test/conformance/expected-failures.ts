/** A check of the suite that may fail, because the suite or the SDK is at fault. */
export interface ExpectedFailure {
  revision: string
  scenario: string
  check: string
  /** Whose fault it is and why, with a link to the report where there is one. */
  reason: string
}

/** Must stay as short as it is true: an entry whose check passes fails the run. */
export const EXPECTED_FAILURES: readonly ExpectedFailure[] = []
