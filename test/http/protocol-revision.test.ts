import t from 'tap'
import { hasSessions } from '../../lib/http/protocol-revision.js'

t.test('the revisions with sessions have them', async (t) => {
  for (const revision of ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25', '2026-07-27']) {
    t.ok(hasSessions(revision), revision)
  }
})

t.test('revision 2026-07-28 and later ones have none', async (t) => {
  for (const revision of ['2026-07-28', '2026-07-29', '2026-12-01', '2027-01-01', '2100-01-01', 'draft']) {
    t.notOk(hasSessions(revision), revision)
  }
})

t.test('a request without the header may belong to a session', async (t) => {
  t.ok(hasSessions(undefined))
  t.ok(hasSessions(''))
})

t.test('a header that was sent twice counts as its first value', async (t) => {
  t.ok(hasSessions(['2025-11-25', '2026-07-28']))
  t.ok(hasSessions('2025-11-25, 2026-07-28'))
  t.notOk(hasSessions(['2026-07-28', '2025-11-25']))
})
