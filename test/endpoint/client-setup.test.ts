import t from 'tap'
import { ClientSetup } from '../../lib/endpoint/client-setup.js'
import { readMessages, type JSONRPCMessage } from '../../lib/endpoint/transport/json-rpc.js'
import { INITIALIZE_PARAMS } from '../helpers/apps/endpoint-stage.js'

const PATH = '/mcp'
const BOUNDS = { maxBytes: 65_536, onForget: () => { throw new Error('Something was forgotten') } }

function message (method: string, params?: Record<string, unknown>, id: number | undefined = 1): JSONRPCMessage {
  const [read] = readMessages(JSON.parse(JSON.stringify({ jsonrpc: '2.0', id, method, params })))
  if (read === undefined) throw new Error('It is no message')
  return read
}

function subscribe (setup: ClientSetup, uri: string): boolean {
  return setup.observe(message('resources/subscribe', { uri }))
}

function unsubscribe (setup: ClientSetup, uri: string): boolean {
  return setup.observe(message('resources/unsubscribe', { uri }))
}

function subscriptions (setup: ClientSetup | undefined): unknown {
  return setup?.toState()['subscriptions']
}

const INITIALIZE = message('initialize', INITIALIZE_PARAMS)
const INITIALIZED: JSONRPCMessage = { jsonrpc: '2.0', method: 'notifications/initialized' }

/** What a new server would hear, as [method, params]. */
function hear (setup: ClientSetup | undefined): unknown[] {
  return Array.from(setup?.messages() ?? [], ({ method, ...message }) => [method, 'params' in message ? message.params : undefined])
}

/** As it is where it has been stored. */
function store (setup: ClientSetup): Record<string, unknown> {
  return JSON.parse(JSON.stringify(setup.toState()))
}

t.test('what sets a session up is said again to the next server, in its order', async (t) => {
  const setup = new ClientSetup(PATH, BOUNDS)
  t.strictSame(hear(setup), [])
  for (const said of [
    INITIALIZE, INITIALIZED, message('logging/setLevel', { level: 'debug' }), message('resources/subscribe', { uri: 'a:1' }),
    message('resources/subscribe', { uri: 'a:2' }), message('resources/unsubscribe', { uri: 'a:1' }), message('logging/setLevel', { level: 'error' })
  ]) t.equal(setup.observe(said), true)
  const said = [
    ['initialize', INITIALIZE_PARAMS], ['notifications/initialized', undefined],
    ['logging/setLevel', { level: 'error' }], ['resources/subscribe', { uri: 'a:2' }]
  ]
  t.strictSame(hear(setup), said)
  const restored = ClientSetup.restore(store(setup), PATH, BOUNDS)
  t.strictSame(hear(restored), said, 'also where it was stored')
  t.strictSame(Array.from(restored?.messages() ?? [], (message) => 'id' in message && message.id), ['restore-1', false, 'restore-2', 'restore-3'])
  t.ok(readMessages(Array.from(setup.messages())), 'a server takes it')
})

t.test('what changes nothing need not be stored again', async (t) => {
  const setup = new ClientSetup(PATH, BOUNDS)
  const [level, subscription] = [message('logging/setLevel', { level: 'debug' }), message('resources/subscribe', { uri: 'a:1' })]
  for (const said of [INITIALIZE, INITIALIZED, level, subscription]) setup.observe(said)
  const before = hear(setup)
  for (const said of [
    INITIALIZE, message('initialize', { ...INITIALIZE_PARAMS, protocolVersion: '2024-11-05' }), INITIALIZED, level, subscription,
    message('tools/list'), { jsonrpc: '2.0', id: 1, result: {} } as const,
    message('logging/setLevel'), message('logging/setLevel', { level: 'loud' }), message('logging/setLevel', { level: 1 }),
    message('resources/subscribe'), message('resources/subscribe', { uri: 1 }), message('resources/unsubscribe', { uri: 'a:9' }), message('resources/unsubscribe')
  ]) t.equal(setup.observe(said), false, JSON.stringify(said))
  t.strictSame(hear(setup), before)
})

t.test('what is not well-formed sets nothing up', async (t) => {
  const setup = new ClientSetup(PATH, BOUNDS)
  for (const said of [message('initialize', { protocolVersion: 1 }), message('initialize'), message('notifications/initialized', undefined, 7)]) {
    t.equal(setup.observe(said), false, JSON.stringify(said))
  }
  t.strictSame(hear(setup), [])
})

t.test('a session comes back only at its own path, and only as one that was initialized', async (t) => {
  const state = { path: PATH, initialize: INITIALIZE_PARAMS }
  t.strictSame(hear(ClientSetup.restore(state, PATH, BOUNDS)), [['initialize', INITIALIZE_PARAMS]])
  t.equal(ClientSetup.restore(state, '/other', BOUNDS), undefined)
  t.equal(ClientSetup.restore(undefined, PATH, BOUNDS), undefined)
  t.equal(ClientSetup.restore({}, PATH, BOUNDS), undefined)
  t.equal(ClientSetup.restore({ ...state, initialize: { protocolVersion: 1 } }, PATH, BOUNDS), undefined)
  const damaged = { ...state, initialized: 'yes', logLevel: 7, subscriptions: 'a:1' }
  t.strictSame(hear(ClientSetup.restore(damaged, PATH, BOUNDS)), [['initialize', INITIALIZE_PARAMS]])
})

t.test('a client that subscribes to more and more does not fill the directory', async (t) => {
  let forgotten = 0
  const setup = new ClientSetup(PATH, { maxBytes: 65_536, onForget: () => { forgotten++ } })
  setup.observe(INITIALIZE)
  const uris = Array.from({ length: 20 }, (_, i) => `note://${i}/`.padEnd(10_000, 'x'))
  for (const uri of uris) t.equal(subscribe(setup, uri), true)
  t.strictSame(subscriptions(setup), uris.slice(-6), 'the last ones are kept')
  t.equal(forgotten, 14)
  t.equal(subscribe(setup, 'x'.repeat(1_000_000)), false, 'one that is too long is not kept')
  t.equal(forgotten, 15)
  t.strictSame(subscriptions(setup), uris.slice(-6), 'nor does it drive out the others')
})

t.test('what is kept is within its bound, whatever the URIs are made of', async (t) => {
  for (const piece of ['x', 'ä', '\u0001', '"', '\ud800', '€']) {
    const setup = new ClientSetup(PATH, { maxBytes: 2000, onForget: () => {} })
    setup.observe(INITIALIZE)
    for (let i = 0; i < 2000; i++) subscribe(setup, piece.repeat(i % 50) + i)
    const { initialize, subscriptions } = store(setup)
    const size = Buffer.byteLength(JSON.stringify(initialize)) + Buffer.byteLength(JSON.stringify(subscriptions))
    t.ok(size <= 2001 && size > 1500, `${JSON.stringify(piece)}: ${size} bytes`)
  }
})

t.test('what is no longer subscribed to leaves room, also after the session was brought back', async (t) => {
  const [a, b, c] = ['a', 'b', 'c'].map((letter) => letter.repeat(60_000))
  if (a === undefined || b === undefined || c === undefined) throw new Error('There are three')
  const first = new ClientSetup(PATH, BOUNDS)
  first.observe(INITIALIZE)
  subscribe(first, a)
  const second = ClientSetup.restore(store(first), PATH, BOUNDS)
  if (second === undefined) throw new Error('It was not brought back')
  t.equal(unsubscribe(second, a), true)
  t.equal(subscribe(second, b), true)
  t.equal(subscribe(second, b), false)
  t.strictSame(subscriptions(second), [b])

  let forgotten = 0
  const third = ClientSetup.restore(store(second), PATH, { ...BOUNDS, onForget: () => { forgotten++ } })
  if (third !== undefined) subscribe(third, c)
  t.equal(forgotten, 1, 'it knows how much there is')
  t.strictSame(subscriptions(third), [c])
})

t.test('subscriptions that come before initialize are bounded too', async (t) => {
  const setup = new ClientSetup(PATH, { ...BOUNDS, maxBytes: 100, onForget: () => {} })
  for (let i = 0; i < 100; i++) subscribe(setup, `note://${i}`)
  t.strictSame(subscriptions(setup), Array.from({ length: 8 }, (_, i) => `note://${i + 92}`))
})
