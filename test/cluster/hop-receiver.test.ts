import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { HopReceiver } from '../../lib/cluster/hop-receiver.js'
import { ANSWER_HEADER, FORWARDED_HEADER, readAnswer, signHop } from '../../lib/cluster/hop-signature.js'
import { until } from '../helpers/waiting/until.js'

const SECRET = 'the secret of the cluster'
const CALLER = { ip: '203.0.113.7', protocol: 'https', host: 'api.example.com' }

function createReceiver (secrets = { secret: SECRET, formerSecret: '' }): HopReceiver {
  return new HopReceiver({ ...secrets, incarnation: 'node-1', isNew: false, wasBefore: (incarnation) => incarnation === 'node-0' })
}

/** A node that refuses whatever it is asked for, on `/late` when the head of its answer is on its way. What an answer to a request says of itself. */
async function scene (t: Test, receiver = createReceiver()): Promise<(url: string, node?: string) => Promise<string | undefined>> {
  const app = Fastify()
  t.teardown(() => app.close())
  receiver.listen(app.server)
  app.get('/*', (request, reply) => {
    if (request.url === '/late') reply.raw.writeHead(200)
    receiver.refuse(request, reply)
    reply.hijack()
    reply.raw.end()
  })
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  return async (url, node) => {
    if (node === undefined) return (await fetch(origin + url)).headers.get(ANSWER_HEADER) ?? undefined
    const { header, proof } = signHop({ node, method: 'GET', url, sessionId: undefined }, CALLER, SECRET, 'hop-1')
    const { headers } = await fetch(origin + url, { headers: { [FORWARDED_HEADER]: header } })
    return readAnswer(headers.get(ANSWER_HEADER) ?? undefined, proof)
  }
}

t.test('a node refuses what another one has passed on to it', async (t) => {
  const ask = await scene(t)
  t.equal(await ask('/', 'node-1'), 'refused')
  t.equal(await ask('/', 'node-0'), 'refused', 'or to what it was before')
  t.equal(await ask('/late', 'node-1'), 'served', 'as long as it has not begun to answer')
})

t.test('a node that does not know the new secret yet is known by the former one', async (t) => {
  const ask = await scene(t, createReceiver({ secret: 'that of another history', formerSecret: SECRET }))
  t.equal(await ask('/', 'node-1'), 'refused')
  const forgetful = await scene(t, createReceiver({ secret: 'that of another history', formerSecret: '' }))
  t.equal(await forgetful('/', 'node-1'), undefined)
})

t.test('a client is told nothing of that', async (t) => {
  const ask = await scene(t)
  t.equal(await ask('/'), undefined)
})

t.test('a node that was served comes again, one that was refused does not', async (t) => {
  const receiver = createReceiver()
  const ask = await scene(t, receiver)
  await ask('/', 'node-1')
  await ask('/')
  t.equal(receiver.servedLast, -Infinity)
  const before = performance.now()
  await ask('/late', 'node-1')
  await until(() => receiver.servedLast >= before, 'the answer is over')
})

t.test('a request that no node has passed on says who is calling as ever', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.get('/', async (request) => {
    createReceiver().presentCaller(request)
    return request.ip
  })
  t.equal((await app.inject({ url: '/', remoteAddress: '192.0.2.1' })).body, '192.0.2.1')
})
