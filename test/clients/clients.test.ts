// Each client does at a server of ours what clients do, and what is seen of it is what clients.ts says.
import t, { type Test } from 'tap'
import { CLIENTS, type Behaviour, type ClientCase } from './clients.js'
import { startDriver, type DriverProcess } from './driver-process.js'
import { buildObservedApp, type ObservedApp } from '../helpers/apps/observed-app.js'

t.setTimeout(900_000)
t.jobs = 2

const groups = (process.env['TEST_CLIENTS'] ?? '').split(' ').filter((group) => group !== '')
const chosen = CLIENTS.filter(({ group }) => groups.length === 0 || groups.includes(group))

for (const client of chosen) {
  for (const form of ['plain', 'modern'] as const) {
    const expected = client[form]
    t.test(`${client.title}, ${form}`, { buffered: true }, async (t) => {
      const { app, driver } = await open(t, client, form)
      const connected = await driver.say({ kind: 'connect' })
      if (expected === null) {
        t.match(connected, { kind: 'failed' })
        return
      }
      t.strictSame(connected, { kind: 'done' })
      t.strictSame(await behave(t, app, driver), expected)
    })
  }
  if (client.plain === null) continue
  t.test(`${client.title}, its session is gone`, { buffered: true }, async (t) => {
    const { app, driver } = await open(t, client, 'plain')
    t.strictSame(await driver.say({ kind: 'connect' }), { kind: 'done' })
    t.equal(await echo(driver), true)
    t.equal(await comeBack(app, driver), client.comesBack)
    t.equal((await driver.say({ kind: 'close' })).kind, 'done')
  })
}

async function open (t: Test, { driver: file, options }: ClientCase, form: 'plain' | 'modern'): Promise<{ app: ObservedApp, driver: DriverProcess }> {
  const app = await buildObservedApp(t, form)
  return { app, driver: await startDriver(t, file, app.url, options) }
}

async function behave (t: Test, app: ObservedApp, driver: DriverProcess): Promise<Behaviour> {
  t.strictSame(await driver.say({ kind: 'list' }), { kind: 'listed', names: ['echo', 'steps', 'ask'] })
  t.equal(await echo(driver), true)
  const steps = await driver.say({ kind: 'call', name: 'steps', args: {} }, app.finishSteps)
  const asked = await driver.say({ kind: 'call', name: 'ask', args: {} })
  t.equal((await driver.say({ kind: 'close' })).kind, 'done')
  const [first] = app.seen
  return {
    era: app.eras.at(-1) === 'modern' ? 'modern' : 'session',
    probes: first?.method === 'server/discover',
    progress: steps.kind === 'called' && steps.progress > 0,
    elicits: asked.kind === 'called' && asked.text === 'Hello, Ada!',
    deletes: app.seen.some(({ http }) => http === 'DELETE')
  }
}

async function echo (driver: DriverProcess): Promise<boolean> {
  const report = await driver.say({ kind: 'call', name: 'echo', args: { text: 'hello' } })
  return report.kind === 'called' && report.text === 'hello'
}

async function comeBack (app: ObservedApp, driver: DriverProcess): Promise<ClientCase['comesBack']> {
  const gone = app.forget()
  const before = app.seen.length
  if (await echo(driver)) {
    const missed = app.seen.slice(before).some(({ sessionId = '' }) => gone.has(sessionId))
    return missed ? 'first call' : 'a session for each command'
  }
  return await echo(driver) ? 'second call' : 'never'
}
