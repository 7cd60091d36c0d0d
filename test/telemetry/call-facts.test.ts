import t from 'tap'
import type { CallMessage } from '../../lib/observe/channels.js'
import { readErrorType, readRevision, readTarget } from '../../lib/telemetry/call-facts.js'

function message (facts: Partial<CallMessage>): CallMessage {
  return { sessions: {}, session: undefined, method: 'ping', id: 1, params: undefined, headers: {}, ...facts }
}

t.test('what a request is about', async (t) => {
  for (const method of ['resources/read', 'resources/subscribe', 'resources/unsubscribe']) {
    t.strictSame(readTarget(message({ method, params: { uri: 'note://1' } })), { key: 'mcp.resource.uri', value: 'note://1' })
  }
  t.strictSame(readTarget(message({ method: 'prompts/get', params: { name: 'greet' } })), { key: 'gen_ai.prompt.name', value: 'greet' })
  t.equal(readTarget(message({})), undefined)
  for (const params of [undefined, {}, { name: 1 }]) t.equal(readTarget(message({ method: 'tools/call', params })), undefined)
})

t.test('its revision is that of the session, or else what the client claims', async (t) => {
  const headers = { 'mcp-protocol-version': '2026-07-28' }
  t.equal(readRevision(message({ headers })), '2026-07-28')
  t.equal(readRevision(message({ headers: { 'mcp-protocol-version': ['a', 'b'] } })), undefined)
  t.equal(readRevision(message({})), undefined)
})

t.test('what became of it', async (t) => {
  t.equal(readErrorType(message({ error: { code: 'cancelled', message: '' } })), 'cancelled')
  for (const result of [undefined, null, 'text', {}, { isError: false }]) t.equal(readErrorType(message({ result })), undefined)
  t.equal(readErrorType(message({ result: { isError: true } })), 'tool_error')
})
