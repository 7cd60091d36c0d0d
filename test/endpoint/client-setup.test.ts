import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'
import t from 'tap'
import { ClientSetup } from '../../lib/endpoint/client-setup.js'
import { INITIALIZE_PARAMS } from '../helpers/endpoint-stage.js'

const PATH = '/mcp'

function request (method: string, params?: Record<string, unknown>): JSONRPCMessage {
  return { jsonrpc: '2.0', id: 1, method, ...(params && { params }) }
}

const forgetNothing = { maxBytes: 65_536, onForget: () => { throw new Error('Something was forgotten') } }

function subscribe (handshake: ClientSetup, uri: string): boolean {
  return handshake.observe(request('resources/subscribe', { uri }))
}

const INITIALIZE = request('initialize', INITIALIZE_PARAMS)
const INITIALIZED: JSONRPCMessage = { jsonrpc: '2.0', method: 'notifications/initialized' }

/** What a new server would hear, as [method, params]. */
function hear (handshake: ClientSetup | undefined): unknown[] {
  return Array.from(handshake?.messages() ?? [], ({ method, ...message }) => [method, 'params' in message ? message.params : undefined])
}

t.test('what sets a session up is said again to the next server, in its order', async (t) => {
  const handshake = new ClientSetup(PATH, forgetNothing)
  t.strictSame(hear(handshake), [])
  for (const message of [
    INITIALIZE, INITIALIZED, request('logging/setLevel', { level: 'debug' }), request('resources/subscribe', { uri: 'a:1' }),
    request('resources/subscribe', { uri: 'a:2' }), request('resources/unsubscribe', { uri: 'a:1' }), request('logging/setLevel', { level: 'error' })
  ]) t.equal(handshake.observe(message), true)
  const said = [
    ['initialize', INITIALIZE_PARAMS], ['notifications/initialized', undefined],
    ['logging/setLevel', { level: 'error' }], ['resources/subscribe', { uri: 'a:2' }]
  ]
  t.strictSame(hear(handshake), said)
  t.strictSame(hear(ClientSetup.restore(JSON.parse(JSON.stringify(handshake.toState())), PATH, forgetNothing)), said, 'also where it was stored')
})

t.test('what changes nothing need not be stored again', async (t) => {
  const handshake = new ClientSetup(PATH, forgetNothing)
  const [level, subscription] = [request('logging/setLevel', { level: 'debug' }), request('resources/subscribe', { uri: 'a:1' })]
  for (const message of [INITIALIZE, INITIALIZED, level, subscription]) handshake.observe(message)
  const before = hear(handshake)
  for (const message of [
    INITIALIZE, INITIALIZED, level, subscription,
    request('tools/list'), { jsonrpc: '2.0', id: 1, result: {} } as const,
    request('logging/setLevel'), request('logging/setLevel', { level: 'loud' }), request('logging/setLevel', { level: 1 }),
    request('resources/subscribe'), request('resources/subscribe', { uri: 1 }), request('resources/unsubscribe', { uri: 'a:9' })
  ]) t.equal(handshake.observe(message), false, JSON.stringify(message))
  t.strictSame(hear(handshake), before)
})

t.test('what is no handshake is none', async (t) => {
  const handshake = new ClientSetup(PATH, forgetNothing)
  t.equal(handshake.observe(request('initialize', { protocolVersion: 1 })), false)
  t.strictSame(hear(handshake), [])
})

t.test('a session comes back only at its own path, and only as one that was initialized', async (t) => {
  const state = { path: PATH, initialize: INITIALIZE_PARAMS }
  t.strictSame(hear(ClientSetup.restore(state, PATH, forgetNothing)), [['initialize', INITIALIZE_PARAMS]])
  t.equal(ClientSetup.restore(state, '/other', forgetNothing), undefined)
  t.equal(ClientSetup.restore(undefined, PATH, forgetNothing), undefined)
  t.equal(ClientSetup.restore({}, PATH, forgetNothing), undefined)
  t.equal(ClientSetup.restore({ ...state, initialize: { protocolVersion: 1 } }, PATH, forgetNothing), undefined)
  t.strictSame(hear(ClientSetup.restore({ ...state, initialized: 'yes', logLevel: 7, subscriptions: 'a:1' }, PATH, forgetNothing)), [['initialize', INITIALIZE_PARAMS]])
})

t.test('a client that subscribes to more and more does not fill the directory', async (t) => {
  let forgotten = 0
  const handshake = new ClientSetup(PATH, { maxBytes: 65_536, onForget: () => { forgotten++ } })
  handshake.observe(INITIALIZE)
  const uris = Array.from({ length: 20 }, (_, i) => `note://${i}/`.padEnd(10_000, 'x'))
  for (const uri of uris) subscribe(handshake, uri)
  t.strictSame(handshake.toState()['subscriptions'], uris.slice(-6), 'the last ones are kept')
  t.equal(forgotten, 14)
  t.equal(subscribe(handshake, 'x'.repeat(1_000_000)), false, 'one that is too long is not kept')
  t.equal(forgotten, 15)
  t.strictSame(handshake.toState()['subscriptions'], uris.slice(-6), 'nor does it drive out the others')
})

t.test('what is no longer subscribed to leaves room, also after the session was brought back', async (t) => {
  const first = new ClientSetup(PATH, forgetNothing)
  first.observe(INITIALIZE)
  subscribe(first, 'a'.repeat(60_000))
  const second = ClientSetup.restore(first.toState(), PATH, forgetNothing)
  if (second === undefined) throw new Error('It was not brought back')
  second.observe(request('resources/unsubscribe', { uri: 'a'.repeat(60_000) }))
  subscribe(second, 'b'.repeat(60_000))
  t.equal(subscribe(second, 'b'.repeat(60_000)), false)
  t.strictSame(second.toState()['subscriptions'], ['b'.repeat(60_000)])

  let forgotten = 0
  const third = ClientSetup.restore(second.toState(), PATH, { maxBytes: 65_536, onForget: () => { forgotten++ } })
  if (third !== undefined) subscribe(third, 'c'.repeat(60_000))
  t.equal(forgotten, 1, 'it knows how much there is')
})
