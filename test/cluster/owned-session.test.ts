import t from 'tap'
import { OwnedSession } from '../../lib/cluster/owned-session.js'
import { SessionManager } from '../../lib/session/session-manager.js'

const CLAIM = { epoch: '1', owner: 'node-1', history: 'history-1' }

function createOwned (): OwnedSession {
  const sessions = new SessionManager()
  const session = sessions.get(sessions.create())
  if (session === undefined) throw new Error('no session')
  return new OwnedSession(session)
}

t.test('a session goes from one phase to the next', (t) => {
  const owned = createOwned()
  t.equal(owned.phase, 'new')
  owned.doubt()
  t.equal(owned.phase, 'new', 'nobody else can have it')
  owned.held(CLAIM)
  t.equal(owned.phase, 'owned')
  owned.change('metadata')
  t.equal(owned.phase, 'dirty')
  owned.doubt()
  t.equal(owned.phase, 'doubtful')
  owned.held(CLAIM)
  t.equal(owned.phase, 'dirty', 'what has changed is still to be written')
  owned.takeChanges()
  t.equal(owned.phase, 'owned')
  t.ok(owned.leave())
  t.equal(owned.phase, 'leaving')
  owned.lose()
  t.equal(owned.phase, 'leaving', 'its end is its end')
  t.end()
})

t.test('one that is lost does not leave', (t) => {
  const owned = createOwned()
  owned.held(CLAIM)
  owned.lose()
  t.equal(owned.phase, 'lost')
  t.notOk(owned.leave())
  t.equal(owned.phase, 'lost')
  t.end()
})

t.test('one that is new has nothing to say to the directory', (t) => {
  const owned = createOwned()
  t.throws(() => owned.toClaimable(), { message: 'The session is not in the directory yet' })
  t.throws(() => owned.toLiveness(), { message: 'The session is not in the directory yet' })
  owned.held(CLAIM)
  t.match(owned.toClaimable(), { epoch: '1', owner: 'node-1' })
  t.match(owned.toLiveness(), { epoch: '1' })
  t.end()
})
