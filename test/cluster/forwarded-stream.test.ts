import { once } from 'node:events'
import { Readable } from 'node:stream'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createCluster, type ClusterAppOptions } from '../helpers/cluster/cluster-apps.js'
import { HttpClient } from '../helpers/clients/http-client.js'
import { needsRedis, startRedis } from '../helpers/redis/redis-server.js'

t.test("an app's own stream is waited for by a node that passes it on and closes", needsRedis(), async (t) => {
  const { url, stop } = await startRedis()
  t.teardown(stop)
  const addNode = createCluster(t, url)
  let finish: (() => void) | undefined
  const options: ClusterAppOptions = {
    plugin: { identify: undefined, drainTimeout: 5000 },
    server: { forceCloseConnections: false },
    async routes (app) {
      app.get('/download', async (_request, reply) => {
        const body = new Readable({ read () {} })
        body.push('begun, ')
        finish = () => {
          body.push('and done')
          body.push(null)
        }
        return reply.type('text/plain').send(body)
      })
    }
  }
  const [owner, other] = [await addNode(options), await addNode(options)]
  const client = new HttpClient(t, new URL('/download', other.url))
  client.sessionId = owner.app.sessionManager.create()
  // It is written a turn later, and what another node asks for goes over a connection of its own.
  while (await other.app.sessionDirectory.count() === 0) await turn()
  const answer = await client.get()
  t.equal(answer.status, 200)
  await answer.see('begun, ')
  const closed = other.app.close()
  // It was cut after a tenth of a second, when idle sessions had been handed over.
  const early = await Promise.race([once(answer.raw, 'close').then(() => 'cut'), sleep(500, 'open')])
  t.equal(early, 'open')
  finish?.()
  await answer.end()
  t.notOk(answer.broken)
  t.equal(answer.text, 'begun, and done')
  await closed
})
