import { isSpecType, McpServer as McpServer2 } from '@modelcontextprotocol/server'
import { InitializeRequestSchema } from '@modelcontextprotocol/sdk/types.js'
import t from 'tap'
import { explainMissingSession, isInitializeParams, readInitialize } from '../../lib/endpoint/initialize.js'
import { CountedServer, INITIALIZE_PARAMS, parseMessage, post, stageEndpoint } from '../helpers/apps/endpoint-stage.js'
import { createRandom, type Random } from '../helpers/chance/random.js'

const INITIALIZE = { jsonrpc: '2.0', id: 1, method: 'initialize', params: INITIALIZE_PARAMS }

t.test('reads what opens a session', async (t) => {
  t.equal(readInitialize(INITIALIZE), INITIALIZE_PARAMS)
  for (const id of ['', 'a', 0, -1]) t.equal(readInitialize({ ...INITIALIZE, id }), INITIALIZE_PARAMS, JSON.stringify(id))
  for (const change of [{ id: undefined }, { id: null }, { id: 1.5 }, { jsonrpc: '1.0' }, { jsonrpc: undefined }, { method: 'initialise' }, { params: undefined }, { params: [] }]) {
    t.equal(readInitialize({ ...INITIALIZE, ...change }), undefined, JSON.stringify(change))
  }
  for (const body of [undefined, null, 'initialize', 1, [], [INITIALIZE]]) t.equal(readInitialize(body), undefined)
  for (const change of [
    { protocolVersion: undefined }, { protocolVersion: 1 }, { capabilities: undefined }, { capabilities: [] }, { capabilities: null },
    { clientInfo: undefined }, { clientInfo: null }, { clientInfo: 'me' }, { clientInfo: { name: 'me' } }, { clientInfo: { version: '1' } }, { clientInfo: { name: 1, version: '1' } }
  ]) t.equal(isInitializeParams({ ...INITIALIZE_PARAMS, ...change }), false, JSON.stringify(change))
})

t.test('says what is wrong with a body that opens none', async (t) => {
  const said = (body: unknown): string => {
    try {
      return explainMissingSession(body).message
    } catch (error) {
      return `thrown: ${error instanceof Error ? error.message : error}`
    }
  }
  const ping = { jsonrpc: '2.0', id: 1, method: 'ping' }
  const cases: Array<[unknown, string]> = [
    [{ ...INITIALIZE, id: undefined }, 'Invalid Request: initialize needs an id, protocolVersion, capabilities and clientInfo'],
    [{ method: 'initialize' }, 'Invalid Request: initialize needs an id, protocolVersion, capabilities and clientInfo'],
    [[INITIALIZE], 'Invalid Request: initialize must be sent on its own'],
    [[ping, INITIALIZE], 'Invalid Request: initialize must be sent on its own'],
    [ping, 'Bad Request: Mcp-Session-Id header is required'],
    [[ping, ping], 'Bad Request: Mcp-Session-Id header is required'],
    ['ping', 'thrown: Invalid Request: not a JSON-RPC message'],
    [[ping, null], 'thrown: Invalid Request: message 2 of the batch: not a JSON-RPC message'],
    [[], 'thrown: Invalid Request: the batch is empty']
  ]
  for (const [body, message] of cases) t.equal(said(body), message, JSON.stringify(body))
})

// What may stand in the place of a part of the parameters.
const VALUES: readonly unknown[] = [undefined, null, 0, 1.5, '', 'a', true, [], {}, [1], { a: 1 }, { form: {} }, { listChanged: true }, { listChanged: 'yes' }, { name: 'a', version: '1' }]
const PATHS = [
  ['protocolVersion'], ['capabilities'], ['capabilities', 'roots'], ['capabilities', 'sampling'], ['capabilities', 'elicitation'], ['capabilities', 'experimental'],
  ['capabilities', 'tasks'], ['capabilities', 'other'], ['clientInfo'], ['clientInfo', 'name'], ['clientInfo', 'version'], ['clientInfo', 'title'], ['clientInfo', 'icons'],
  ['clientInfo', 'websiteUrl'], ['clientInfo', 'description'], ['other']
]

function change (random: Random): Record<string, unknown> {
  const params: Record<string, unknown> = structuredClone(INITIALIZE_PARAMS)
  for (let changes = random.below(3); changes > 0; changes--) {
    const [key = '', inner] = random.pick(PATHS) ?? []
    const value = random.pick(VALUES)
    params[key] = inner === undefined ? value : { ...Object(params[key]), [inner]: value }
  }
  // As it comes over the wire.
  return JSON.parse(JSON.stringify(params))
}

t.test('takes all that the SDKs take', async (t) => {
  const seed = Number(process.env['SEED'] ?? 1)
  const random = createRandom(seed)
  const counts = { taken: 0, refused: 0 }
  for (let round = 0; round < 2000; round++) {
    const request = { method: 'initialize', params: change(random) }
    const isTaken = isInitializeParams(request.params)
    counts[isTaken ? 'taken' : 'refused']++
    const sdks = [InitializeRequestSchema.safeParse(request).success, isSpecType.InitializeRequest(request)]
    if (!isTaken && sdks.includes(true)) t.fail(`seed ${seed}: ${JSON.stringify(request.params)}`)
  }
  t.ok(counts.taken > 500 && counts.refused > 200, JSON.stringify(counts))
})

t.test('what it takes and a server does not is answered, and leaves no session', async (t) => {
  const random = createRandom(2)
  const all = Array.from({ length: 1000 }, () => change(random)).filter((params) => isInitializeParams(params) && !InitializeRequestSchema.safeParse({ method: 'initialize', params }).success)
  const odd = Array.from(new Map(all.map((params) => [JSON.stringify(params), params])).values()).slice(0, 40)
  t.equal(odd.length, 40)
  for (const createServer of [() => new CountedServer(), () => new McpServer2({ name: 'two', version: '1' })]) {
    const { app, ends } = await stageEndpoint(t, { endpoint: { createServer } })
    let refused = 0
    for (const params of odd) {
      const response = await post(app, { jsonrpc: '2.0', id: 'x', method: 'initialize', params })
      t.match(parseMessage(response), { jsonrpc: '2.0', id: 'x' }, JSON.stringify(params))
      const isRefused = JSON.stringify(parseMessage(response)).includes('"error"')
      if (isRefused) refused++
      t.equal(response.headers['mcp-session-id'] === undefined, isRefused, 'a session id comes with a result and with nothing else')
    }
    t.ok(refused > 20)
    t.equal(ends.length, refused)
  }
})
