import t from 'tap'

import { judge } from './verdict.js'

const expected = [{ revision: '2025-11-25', scenario: 'ping', check: 'ping', reason: 'the suite is wrong' }]

t.test('a scenario passes when checks succeed and the rest is information', async (t) => {
  const verdict = judge('2025-11-25', 'ping', [
    { id: 'ping', status: 'SUCCESS' },
    { id: 'incoming-response', status: 'INFO' },
    { id: 'wire-schema-valid', status: 'SUCCESS' }
  ], [])
  t.strictSame(verdict, { passed: 1, failures: [], excused: [] })
})

for (const status of ['FAILURE', 'WARNING', 'SKIPPED']) {
  t.test(`${status} fails a scenario`, async (t) => {
    const { failures } = judge('2025-11-25', 'ping', [{ id: 'ping', status, errorMessage: 'no answer' }], [])
    t.strictSame(failures, [`ping: ${status}: no answer`])
  })
}

t.test('a scenario that shows nothing fails', async (t) => {
  const { failures } = judge('2025-11-25', 'server-session-lifecycle', [
    { id: 'server-session-lifecycle-skipped', status: 'INFO' },
    { id: 'wire-schema-valid', status: 'SUCCESS' }
  ], [])
  t.equal(failures.length, 1)
})

t.test('an expected failure is excused in its own revision, scenario and check alone', async (t) => {
  const failed = [{ id: 'ping', status: 'FAILURE' }]
  t.strictSame(judge('2025-11-25', 'ping', failed, expected), { passed: 0, failures: [], excused: expected })
  t.equal(judge('2025-06-18', 'ping', failed, expected).failures.length, 1)
  t.equal(judge('2025-11-25', 'tools-list', failed, expected).failures.length, 1)
  t.equal(judge('2025-11-25', 'ping', [{ id: 'pong', status: 'FAILURE' }], expected).failures.length, 1)
})
