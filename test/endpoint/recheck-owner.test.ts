// Whoever loses the right to a session while its GET stream is open loses the stream with the next heartbeat.
import type { FastifyRequest } from 'fastify'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Identify } from '../../index.js'
import type { SessionEndpointOptions } from '../../lib/endpoint/options.js'
import { activeRequests } from '../helpers/apps/app.js'
import { buildEndpoint, type EndpointApp } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient } from '../helpers/clients/http-client.js'
import { until } from '../helpers/waiting/until.js'

const BEAT = 1000

interface Opened extends EndpointApp {
  readonly client: HttpClient
  /** What `identify` is asked from now on. */
  answer: Identify
}

/** A session of Ada, and time that stands still. */
async function openAsAda (t: Test, endpoint: Partial<SessionEndpointOptions> = {}): Promise<Opened> {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const state: { answer: Identify } = { answer: () => 'ada' }
  const built = await buildEndpoint(t, {
    sessions: { identify: (request) => state.answer(request) }, endpoint: { heartbeatInterval: BEAT, ...endpoint }
  })
  const client = new HttpClient(t, await built.listen())
  await client.open()
  await until(() => activeRequests(built.app, client.sessionId) === 0, 'initialize is over')
  return Object.assign(state, built, { client })
}

async function beat (): Promise<void> {
  mock.timers.tick(BEAT)
  for (let round = 0; round < 20; round++) await turn()
}

const revocations: Record<string, Identify> = {
  'is somebody else': () => 'bob',
  'is somebody else, as a promise': async () => 'bob',
  'is nobody': () => undefined,
  'cannot be told: it throws': () => { throw new Error('token revoked') },
  'cannot be told: it rejects': async () => { throw new Error('token revoked') }
}

for (const [name, revoked] of Object.entries(revocations)) {
  t.test(`the GET stream ends within a heartbeat when the caller ${name}`, async (t) => {
    const opened = await openAsAda(t)
    const { app, client, server } = opened
    const stream = await client.get()
    await beat()
    await stream.see(':\n\n')
    t.notOk(stream.ended, 'Ada is still Ada')
    opened.answer = revoked
    await beat()
    await stream.end()
    t.ok(stream.ended, 'in good order')
    await server().noteHasChanged()
    await until(() => app.sessionManager.get(client.sessionId)?.activeRequests === 0, 'the session is let go, and lives')
    t.notMatch(stream.text, 'updated')
    opened.answer = () => 'ada'
    t.equal((await client.get()).status, 200, 'its owner may come back')
  })
}

t.test('with recheckOwner false a stream goes on', async (t) => {
  const opened = await openAsAda(t, { recheckOwner: false })
  const stream = await opened.client.get()
  opened.answer = () => 'bob'
  for (let beats = 1; beats < 4; beats++) {
    await beat()
    await stream.see(':\n\n'.repeat(beats))
  }
  await opened.server().noteHasChanged()
  await stream.see('updated')
})

t.test('identify is asked with the request that opened the stream, once a heartbeat', async (t) => {
  const opened = await openAsAda(t)
  const stream = await opened.client.get({ 'x-stream': 'this one' })
  const asked: FastifyRequest[] = []
  opened.answer = (request) => {
    asked.push(request)
    return 'ada'
  }
  for (let beats = 1; beats < 4; beats++) await beat()
  t.strictSame(asked.map(({ method, headers }) => [method, headers['x-stream']]), Array(3).fill(['GET', 'this one']))
  t.notOk(stream.ended)
})

t.test('a stream that was resumed is watched like any other', async (t) => {
  const opened = await openAsAda(t, { resumable: {} })
  const first = await opened.client.get()
  await first.see('id: ')
  const stream = await opened.client.get({ 'last-event-id': String(first.events[0]?.id) })
  await first.end()
  opened.answer = () => 'bob'
  await beat()
  await stream.end()
})

t.test('a call that was begun is answered', async (t) => {
  const opened = await openAsAda(t, { responseMode: 'sse' })
  const stream = await opened.client.post(call(2, 'wait'))
  opened.answer = () => 'bob'
  await beat()
  await stream.see(':\n\n')
  opened.server().answer('done')
  t.match((await stream.end()).messages, [{ id: 2, result: {} }])
})
