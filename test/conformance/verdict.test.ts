import t from 'tap'

import { judge, NOTHING_SHOWN } from './verdict.js'

const expected = [{ mode: 'sse', revision: '2025-11-25', scenario: 'ping', check: 'ping', reason: 'the suite is wrong' }]

t.test('a scenario passes when checks succeed and the rest is information', async (t) => {
  const verdict = judge('sse', '2025-11-25', 'ping', [
    { id: 'ping', status: 'SUCCESS' },
    { id: 'incoming-response', status: 'INFO' },
    { id: 'wire-schema-valid', status: 'SUCCESS' }
  ], [])
  t.strictSame(verdict, { passed: 1, failures: [], excused: [] })
})

for (const status of ['FAILURE', 'WARNING', 'SKIPPED']) {
  t.test(`${status} fails a scenario`, async (t) => {
    const { failures } = judge('sse', '2025-11-25', 'ping', [{ id: 'ping', status, errorMessage: 'no answer' }], [])
    t.strictSame(failures, [`ping: ${status}: no answer`])
  })
}

t.test('a scenario that shows nothing fails', async (t) => {
  const { failures } = judge('sse', '2025-11-25', 'server-session-lifecycle', [
    { id: 'server-session-lifecycle-skipped', status: 'INFO' },
    { id: 'wire-schema-valid', status: 'SUCCESS' }
  ], [])
  t.equal(failures.length, 1)
})

t.test('that a scenario shows nothing can be expected', async (t) => {
  const excuse = { mode: 'json', revision: '2025-11-25', scenario: 'polling', check: NOTHING_SHOWN, reason: 'there are no streams' }
  t.strictSame(judge('json', '2025-11-25', 'polling', [{ id: 'polling', status: 'INFO' }], [excuse]), { passed: 0, failures: [], excused: [excuse] })
})

t.test('an expected failure is excused in its own mode, revision, scenario and check alone', async (t) => {
  const failed = [{ id: 'ping', status: 'FAILURE' }]
  t.strictSame(judge('sse', '2025-11-25', 'ping', failed, expected), { passed: 0, failures: [], excused: expected })
  t.equal(judge('json', '2025-11-25', 'ping', failed, expected).failures.length, 1)
  t.equal(judge('sse', '2025-06-18', 'ping', failed, expected).failures.length, 1)
  t.equal(judge('sse', '2025-11-25', 'tools-list', failed, expected).failures.length, 1)
  t.equal(judge('sse', '2025-11-25', 'ping', [{ id: 'pong', status: 'FAILURE' }], expected).failures.length, 1)
})
