// A body that is JSON and no JSON-RPC is the client's fault, and no error of the server: with sessions and without.
import t from 'tap'
import { INITIALIZE, open, post, rpc, stageEndpoint } from '../helpers/apps/endpoint-stage.js'

const bodies = [
  '0', '1', '""', '"ping"', 'true', 'false', '{}', '[[]]', '[1]', '[null]', '[{}]', '{"jsonrpc":"1.0","id":1,"method":"ping"}',
  '{"id":1,"method":"ping"}', '{"jsonrpc":"2.0"}', '{"jsonrpc":"2.0","id":1}', '{"jsonrpc":"2.0","id":{},"method":"ping"}', '{"jsonrpc":"2.0","id":null,"method":"ping"}',
  '{"jsonrpc":"2.0","id":1.5,"method":"ping"}', '{"jsonrpc":"2.0","id":1,"method":5}', '{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', '{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}',
  '{"jsonrpc":"2.0","id":1,"result":1}', '{"jsonrpc":"2.0","id":1,"error":"x"}', '{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}'
]

for (const [name, enabled, inSession] of [['without sessions', false, false], ['before a session', true, false], ['in a session', true, true]] as const) {
  t.test(`${name}, what is no JSON-RPC is 400 and says so in JSON-RPC`, async (t) => {
    const { app } = await stageEndpoint(t, { sessions: { enabled } })
    const headers = inSession ? { 'mcp-session-id': await open(app) } : {}
    for (const body of bodies) {
      const response = await post(app, body, { headers })
      t.equal(response.statusCode, 400, body)
      t.match(response.json(), { jsonrpc: '2.0', error: { code: Number, message: String } })
    }
    t.equal(app.sessionManager.getActiveSessionCount(), inSession ? 1 : 0)
    t.equal((await post(app, inSession ? rpc('ping') : INITIALIZE, { headers })).statusCode, 200, 'and the next is answered')
  })
}
