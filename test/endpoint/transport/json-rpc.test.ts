import { isSpecType } from '@modelcontextprotocol/server'
import { JSONRPCMessageSchema } from '@modelcontextprotocol/sdk/types.js'
import t from 'tap'
import { isAnswer, isObject, isRequest, isRequestId, readMessages, toErrorAnswer } from '../../../lib/endpoint/transport/json-rpc.js'
import { createRandom, type Random } from '../../helpers/chance/random.js'

const ID = 'id must be a string or a whole number'
const ERROR = 'error must have a whole number as code and a string as message'
const TASK = 'io.modelcontextprotocol/related-task'

function explain (body: unknown): string {
  try {
    readMessages(body)
    return 'taken'
  } catch (error) {
    return error instanceof Error ? error.message.replace('Invalid Request: ', '') : 'no error at all'
  }
}

// By what is said of them, parts of messages that are otherwise in order.
const refused: Record<string, object[]> = {
  [ID]: [
    { method: 'a', id: null }, { method: 'a', id: 1.5 }, { method: 'a', id: 2 ** 53 }, { method: 'a', id: {} }, { method: 'a', id: true },
    { result: {} }, { result: {}, id: null }, { error: { code: 1, message: '' }, id: null }, { error: { code: 1, message: '' }, id: [] }
  ],
  'method must be a string': [{ method: 1, id: 1 }, { method: null }],
  'params must be an object': [{ method: 'a', params: [] }, { method: 'a', id: 1, params: null }, { method: 'a', params: 'b' }],
  'params._meta must be an object': [{ method: 'a', params: { _meta: [] } }, { method: 'a', id: 1, params: { _meta: null } }],
  'params._meta.progressToken must be a string or a whole number': [{ method: 'a', params: { _meta: { progressToken: null } } }, { method: 'a', id: 1, params: { _meta: { progressToken: 0.5 } } }],
  [`params._meta["${TASK}"] must have a taskId`]: [{ method: 'a', params: { _meta: { [TASK]: {} } } }, { method: 'a', params: { _meta: { [TASK]: [] } } }, { method: 'a', params: { _meta: { [TASK]: { taskId: 1 } } } }],
  'result must be an object': [{ id: 1, result: [] }, { id: 1, result: null }, { id: 1, result: 'a' }],
  'result._meta must be an object': [{ id: 1, result: { _meta: 1 } }],
  [ERROR]: [
    { id: 1, error: null }, { id: 1, error: 'no' }, { id: 1, error: {} }, { id: 1, error: { code: 1.5, message: '' } },
    { id: 1, error: { code: '1', message: '' } }, { id: 1, error: { code: 1 } }, { id: 1, error: { code: 1, message: null } }
  ],
  'a message of this kind has no "extra"': [
    { method: 'a', id: 1, extra: 1 }, { method: 'a', extra: null }, { id: 1, result: {}, extra: 1 }, { error: { code: 1, message: '' }, extra: 1 }
  ],
  'a message of this kind has no "result"': [{ method: 'a', id: 1, result: {} }],
  'a message of this kind has no "error"': [{ id: 1, result: {}, error: { code: 1, message: '' } }],
  'a message of this kind has no "params"': [{ id: 1, result: {}, params: {} }],
  [`a message of this kind has no "${'x'.repeat(40)}"`]: [{ method: 'a', ['x'.repeat(1000)]: 1 }],
  'a message must have a method, a result or an error': [{}, { id: 1 }, { id: 1, params: {} }]
}

t.test('says what is wrong with a message', async (t) => {
  for (const [reason, messages] of Object.entries(refused)) {
    for (const message of messages) t.equal(explain({ jsonrpc: '2.0', ...message }), reason, JSON.stringify(message))
  }
  for (const jsonrpc of [undefined, null, 2, '1.0', '2.00']) t.equal(explain({ jsonrpc, method: 'a' }), 'jsonrpc must be "2.0"')
  for (const body of [undefined, null, 1, 'a', true, [[]], ['a']]) t.match(explain(body), /not a JSON-RPC message$/)
})

t.test('takes one message, or a batch', async (t) => {
  const [request, answer] = [{ jsonrpc: '2.0', id: 1, method: 'a' }, { jsonrpc: '2.0', id: 'b', result: {} }]
  t.strictSame(readMessages(request), [request])
  t.strictSame(readMessages([request, answer]), [request, answer])
  t.equal(explain([]), 'the batch is empty')
  t.equal(explain([request, { ...answer, result: 1 }]), 'message 2 of the batch: result must be an object')
  t.equal(explain(new Array(100).fill(request)), 'taken')
  t.equal(explain(new Array(101).fill(request)), 'a batch must not hold more than 100 messages')
})

t.test('a refusal is a rejection of the request', async (t) => {
  t.throws(() => readMessages({}), { statusCode: 400, code: 'FST_ERR_MCP_SESSION_INVALID_REQUEST' })
})

t.test('tells messages apart', async (t) => {
  const [request] = readMessages({ jsonrpc: '2.0', id: 0, method: 'a' })
  const [notification] = readMessages({ jsonrpc: '2.0', method: 'a' })
  const answers = [...readMessages({ jsonrpc: '2.0', id: '', result: {} }), ...readMessages({ jsonrpc: '2.0', error: { code: 1, message: '' } })]
  t.strictSame([request, notification, ...answers].map((message) => message && isRequest(message)), [true, false, false, false])
  t.strictSame([request, notification, ...answers].map((message) => message && isAnswer(message)), [false, false, true, true])
  t.strictSame(['', 'a', 0, -1, 2 ** 53 - 1].map(isRequestId), [true, true, true, true, true])
  t.strictSame([0.1, 2 ** 53, NaN, null, undefined, {}, true, 1n].map(isRequestId), new Array(8).fill(false))
  t.strictSame([{}, Object.create(null), [], null, 'a', undefined].map(isObject), [true, true, false, false, false, false])
})

t.test('an answer of our own is one that the SDK takes', async (t) => {
  const answer = toErrorAnswer('a', -32001, 'Session closed')
  t.strictSame(answer, { jsonrpc: '2.0', id: 'a', error: { code: -32001, message: 'Session closed' } })
  t.ok(JSONRPCMessageSchema.safeParse(answer).success)
})

// Near enough to a message to be one about as often as not.
const VALUES = [
  '{}', '[]', 'null', '0', '1', '-0', '1.5', '1e300', '9007199254740991', '9007199254740992', 'true', '""', '"a"', '"2.0"', '{"a":1}', '{"_meta":{}}',
  '{"_meta":null}', '{"_meta":[]}', '{"_meta":{"progressToken":1}}', '{"_meta":{"progressToken":null}}', '{"_meta":{"progressToken":1.5,"a":1}}',
  `{"_meta":{"${TASK}":{"taskId":"a","b":1}}}`, `{"_meta":{"${TASK}":{"taskId":1}}}`, `{"_meta":{"${TASK}":null}}`, '{"__proto__":{"a":1}}', '{"_meta":{"__proto__":[]}}',
  '{"code":1,"message":"a"}', '{"code":1,"message":"a","data":null,"more":1}', '{"code":1.5,"message":"a"}', '{"code":"1","message":"a"}', '{"code":1}', '{"code":1,"message":{}}'
]
const KEYS = ['jsonrpc', 'id', 'method', 'params', 'result', 'error', 'extra', '__proto__', 'constructor', 'toString', '']
const TEMPLATES: Array<Record<string, string>> = [
  { jsonrpc: '"2.0"', id: '1', method: '"a"', params: '{"a":1}' },
  { jsonrpc: '"2.0"', method: '"a"' },
  { jsonrpc: '"2.0"', id: '"a"', result: '{"a":1}' },
  { jsonrpc: '"2.0"', id: '1', error: '{"code":1,"message":"a"}' }
]

/** The text of a message that a client might send. Text, for `__proto__` is a name like any other there. */
function writeMessage (random: Random): string {
  if (random.below(50) === 0) return String(random.pick(VALUES))
  const fields = new Map(Object.entries(random.pick(TEMPLATES) ?? {}))
  for (let changes = random.below(4); changes > 0; changes--) {
    const key = String(random.pick(KEYS))
    if (random.below(3) === 0) fields.delete(key)
    else fields.set(key, String(random.pick(VALUES)))
  }
  return `{${Array.from(fields, ([key, value]) => `${JSON.stringify(key)}:${value}`).join()}}`
}

t.test('takes exactly what SDK 1 takes, and nothing that SDK 2 does not', async (t) => {
  const seed = Number(process.env['SEED'] ?? 1)
  const random = createRandom(seed)
  const counts = { taken: 0, refused: 0 }
  for (let round = 0; round < 3_000; round++) {
    const text = writeMessage(random)
    const reason = explain(JSON.parse(text))
    counts[reason === 'taken' ? 'taken' : 'refused']++
    const isTakenBySdk1 = JSONRPCMessageSchema.safeParse(JSON.parse(text)).success
    if (isTakenBySdk1 !== (reason === 'taken')) t.fail(`SDK 1 says ${isTakenBySdk1}, seed ${seed}: ${text}: ${reason}`)
    // Of a result, SDK 2 does not look at what is in _meta.
    const isTakenBySdk2 = isSpecType.JSONRPCMessage(JSON.parse(text)) && !reason.startsWith('result._meta')
    if (isTakenBySdk2 !== (reason === 'taken')) t.fail(`SDK 2 says ${isTakenBySdk2}, seed ${seed}: ${text}: ${reason}`)
  }
  t.ok(counts.taken > 500 && counts.refused > 500, `both happen: ${JSON.stringify(counts)}`)
})
