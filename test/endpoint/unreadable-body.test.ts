import t from 'tap'
import { explainUnreadable } from '../../lib/endpoint/unreadable-body.js'

const NOT_JSON = 'the body is not JSON'
const FORBIDDEN_KEY = 'the body has a key that is not allowed, __proto__ or constructor.prototype'

for (const [body, wrong] of [
  ['', 'the body is empty'],
  [' ', NOT_JSON],
  ['{', NOT_JSON],
  ['\uFEFF', NOT_JSON],
  ['{"__proto__":', NOT_JSON],
  ['{"a":{"__proto__":1}}', FORBIDDEN_KEY],
  ['{"constructor":{"prototype":{}}}', FORBIDDEN_KEY],
  ['\uFEFF{"__proto__":1}', FORBIDDEN_KEY]
] as const) {
  t.test(`of ${JSON.stringify(body)}, it is said that ${wrong}`, async (t) => {
    const error = explainUnreadable(body)
    t.equal(error.code, 'FST_ERR_MCP_SESSION_PARSE')
    t.equal(error.message, `Parse error: ${wrong}`)
  })
}
