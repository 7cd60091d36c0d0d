// A process that leaves its manager to itself: started, with sessions that expire, never stopped.
import { SessionManager } from '../../../lib/session/session-manager.js'

const manager = new SessionManager({
  ttl: 60_000,
  cleanupInterval: 30_000,
  logger: { sendLog: ({ data }) => { console.log(data) } }
})
manager.register('left-behind')
manager.startTTLCleanup()
