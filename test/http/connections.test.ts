import Fastify from 'fastify'
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { Connections } from '../../lib/http/connections.js'
import { listen } from '../helpers/apps/app.js'

t.test('nothing is cut off while the server still listens', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.get('/', async () => 'served')
  const { server } = app
  const connections = new Connections(server)
  const client = connect(await listen(app), '127.0.0.1')
  t.teardown(() => { client.destroy() })
  await once(server, 'connection')
  connections.endUnused()
  connections.destroy()
  client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  const [answer] = await once(client, 'data')
  t.match(String(answer), /200 OK[^]*served/)

  server.close()
  connections.destroy()
  await once(server, 'close')
  t.pass('and all is when it has stopped')
})
