// Random interleavings of what clients, networks and servers do to a session, against a few lines that say what a
// client may see. `SEED=… npx tap test/endpoint/transport/model.test.ts` repeats a run.
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { ResponseMode } from '../../../lib/endpoint/options.js'
import { buildEndpoint } from '../../helpers/apps/endpoint-app.js'
import { openSession, type Answer, type HttpClient, type Message } from '../../helpers/clients/http-client.js'
import { createRandom, type Random } from '../../helpers/chance/random.js'
import { PuppetServer } from '../../helpers/mcp-servers/puppet-server.js'
import { until } from '../../helpers/waiting/until.js'

const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const RUNS = Number(process.env['RUNS'] ?? 4)
const STEPS = 150

/** A call as its client sees it: all that has come of it, on whatever connection. */
class ClientCall {
  readonly key: string
  readonly id: number
  readonly streams: Answer[] = []
  /** Resolves when the head of its response is here, or the connection has gone. */
  begun: Promise<void>
  isCancelled = false
  isLost = false

  constructor (key: string, id: number, begun: Promise<Answer>) {
    this.key = key
    this.id = id
    this.begun = begun.then((answer) => { this.streams.push(answer) }, () => { this.isLost = true })
  }

  get messages (): Message[] {
    return this.streams.flatMap((stream) => stream.messages)
  }

  get answers (): Message[] {
    return this.messages.filter((message) => message.method === undefined)
  }

  get lastEventId (): string | undefined {
    return this.streams.flatMap((stream) => stream.events).findLast(({ id }) => id !== undefined)?.id
  }
}

interface Play {
  readonly random: Random
  readonly client: HttpClient
  readonly server: PuppetServer
  readonly isResumable: boolean
  readonly calls: ClientCall[]
  readonly listening: Answer[]
  /** What was told on the GET stream, in order. */
  readonly told: string[]
}

for (const responseMode of ['auto', 'sse', 'json'] as const) {
  for (const isResumable of [true, false]) {
    for (let run = 0; run < RUNS; run++) {
      const seed = SEED + run
      t.test(`responseMode ${responseMode}, resumable ${isResumable}, SEED=${seed}`, (t) => play(t, seed, responseMode, isResumable))
    }
  }
}

async function play (t: Test, seed: number, responseMode: ResponseMode, isResumable: boolean): Promise<void> {
  const servers: PuppetServer[] = []
  const { listen } = await buildEndpoint(t, {
    sessions: { drainTimeout: 1000 },
    endpoint: {
      responseMode,
      resumable: isResumable && { maxEvents: 10_000 },
      createServer () {
        const server = new PuppetServer()
        servers.push(server)
        return server
      }
    }
  })
  const client = await openSession(t, await listen())
  const [server] = servers
  if (server === undefined) throw new Error('No server has been made')
  const scene = { random: createRandom(seed), client, server, isResumable, calls: [], listening: [], told: [] }
  for (let step = 0; step < STEPS; step++) {
    await act(scene)
    for (let turns = scene.random.below(3); turns > 0; turns--) await turn()
  }
  if (scene.random.below(3) === 0) {
    await endSession(scene)
    checkCalls(t, scene, 'Session closed')
  } else {
    await bringToRest(scene)
    checkCalls(t, scene)
    checkGetStream(t, scene, responseMode)
  }
}

const acts = [call, call, call, notify, notify, answer, answer, answer, cancel, lose, comeBack, listen, stopListening, tell, tell]

async function act (scene: Play): Promise<void> {
  await scene.random.pick(acts)?.(scene)
}

// Now and then under an id that another call has.
async function call ({ client, calls, random }: Play): Promise<void> {
  const key = `call-${calls.length}`
  const id = (random.below(4) === 0 ? random.pick(calls)?.id : undefined) ?? 100 + calls.length
  const begun = client.post({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'puppet', arguments: { key } } })
  calls.push(new ClientCall(key, id, begun))
}

async function notify ({ server, random }: Play): Promise<void> {
  const pending = random.pick(Array.from(server.pending))
  if (pending !== undefined) await server.notify(pending).catch(() => {})
}

async function answer ({ server, random }: Play): Promise<void> {
  const pending = random.pick(Array.from(server.pending))
  if (pending !== undefined) await server.answer(pending)
}

// Only calls whose id no other has: of those with one id, it is the last that is meant.
async function cancel ({ client, calls, random }: Play): Promise<void> {
  const chosen = random.pick(calls.filter(({ id, isCancelled }) => !isCancelled && calls.filter((other) => other.id === id).length === 1))
  if (chosen === undefined) return
  chosen.isCancelled = true
  const response = await client.post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: chosen.id } })
  if (response.status !== 202) throw new Error(`A cancel was answered with ${response.status}`)
}

async function lose ({ calls, random }: Play): Promise<void> {
  const chosen = random.pick(calls.filter((call) => call.streams.at(-1)?.ended === false))
  chosen?.streams.at(-1)?.vanish()
}

async function comeBack ({ client, calls, random, isResumable }: Play): Promise<void> {
  const chosen = random.pick(calls.filter((call) => call.streams.at(-1)?.broken === true && call.lastEventId !== undefined))
  if (chosen?.lastEventId === undefined || !isResumable) return
  chosen.streams.push(await client.get({ 'last-event-id': chosen.lastEventId }))
}

async function listen ({ client, listening, isResumable }: Play): Promise<void> {
  const lastEventId = listening.flatMap((stream) => stream.events).findLast(({ id }) => id !== undefined)?.id
  listening.push(await client.get(isResumable && lastEventId !== undefined ? { 'last-event-id': lastEventId } : {}))
}

async function stopListening ({ listening }: Play): Promise<void> {
  if (listening.at(-1)?.ended === false) listening.at(-1)?.vanish()
}

async function tell ({ server, told, listening }: Play): Promise<void> {
  if (listening.length === 0) return
  const text = `told-${told.length}`
  told.push(text)
  await server.tell(text)
}

// With what is running in it.
async function endSession ({ client, server, calls, listening }: Play): Promise<void> {
  await haveSeen(server, calls)
  const { status } = await client.delete()
  if (status !== 200) throw new Error(`DELETE was answered with ${status}`)
  for (const call of calls) {
    await call.begun
    await call.streams.at(-1)?.end()
  }
  await listening.at(-1)?.end()
}

async function haveSeen (server: PuppetServer, calls: readonly ClientCall[]): Promise<void> {
  for (const { key } of calls) await until(() => server.seen.has(key), `the server has seen ${key}`)
}

async function bringToRest (scene: Play): Promise<void> {
  const { server, calls } = scene
  await haveSeen(server, calls)
  for (const pending of Array.from(server.pending)) await server.answer(pending)
  for (const call of calls) {
    await call.begun
    await call.streams.at(-1)?.end()
    while (scene.isResumable && call.streams.at(-1)?.broken === true && call.lastEventId !== undefined) {
      call.streams.push(await (await scene.client.get({ 'last-event-id': call.lastEventId })).end())
    }
  }
  if (scene.listening.length === 0) return
  if (scene.isResumable) await listen(scene)
  scene.told.push('the end')
  const open = scene.listening.at(-1)
  if (open?.broken === false && !open.ended) {
    await server.tell('the end')
    await open.see('the end')
  }
}

function checkCalls (t: Test, { calls, isResumable }: Play, end?: string): void {
  for (const call of calls) {
    const texts = call.messages.map((message) => JSON.stringify(message))
    t.ok(texts.every((text) => text.includes(`"${call.key}"`) || text.includes('cancelled') || (end !== undefined && text.includes(end))), `${call.key} sees nothing of another: ${texts.join()}`)
    t.ok(call.answers.every(({ id }) => id === call.id), `${call.key} is answered under its own id`)
    t.ok(call.answers.length <= 1, `${call.key} is answered at most once`)
    const last = call.messages.at(-1)
    t.ok(call.answers.length === 0 || last?.method === undefined, `${call.key} hears nothing after its answer`)
    const isWhole = call.streams.every(({ broken }) => !broken) || (isResumable && call.lastEventId !== undefined && end === undefined)
    if (isWhole && !call.isLost && !call.isCancelled) t.equal(call.answers.length, 1, `${call.key} is answered`)
  }
}

function checkGetStream (t: Test, { listening, told, isResumable }: Play, responseMode: ResponseMode): void {
  // While an old stream and a new one overlap, an event may come on both: its id says that it is the same. Those without a message
  // give but an id to come back with, which may be that of another one.
  const events = new Map(listening.flatMap((stream) => stream.events).flatMap(({ id, message }) => message === undefined ? [] : [[id ?? message, message]]))
  const heard = Array.from(events.values(), ({ params }) => JSON.stringify(params ?? {})).filter((text) => text.includes('told-'))
  t.equal(new Set(heard).size, heard.length, 'nothing is told twice')
  if (responseMode !== 'json') t.ok(listening.flatMap((stream) => stream.messages).every((message) => !JSON.stringify(message).includes('call-')), 'the GET stream has nothing of a call')
  if (isResumable) t.strictSame(heard, told.slice(0, -1).map((text) => JSON.stringify({ level: 'info', data: text })), 'all that was told is heard, in order')
}
