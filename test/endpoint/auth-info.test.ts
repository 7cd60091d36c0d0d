import t from 'tap'
import { readAuthInfo } from '../../lib/endpoint/auth-info.js'
import { callTool, INITIALIZE, open, parseMessage, post, rpc, stageEndpoint, type CountedServer } from '../helpers/apps/endpoint-stage.js'
import { serveRequest } from '../helpers/apps/served-request.js'

const AUTH = { token: 'secret', clientId: 'client', scopes: ['read'], extra: { sub: 'ada' } }

function addWhoAmI (server: CountedServer): void {
  server.registerTool('whoami', {}, ({ authInfo }) => ({ content: [{ type: 'text', text: JSON.stringify(authInfo ?? null) }] }))
}

const notAuth: Record<string, unknown> = {
  nothing: undefined,
  null: null,
  'a string': 'secret',
  'a function': () => AUTH,
  'an object without a token': { clientId: 'client', scopes: [] },
  'a token that is no string': { token: 1, clientId: 'client', scopes: [] },
  'no client id': { token: 'secret', scopes: [] },
  'a client id that is no string': { token: 'secret', clientId: {}, scopes: [] },
  'no scopes': { token: 'secret', clientId: 'client' },
  'scopes in a string': { token: 'secret', clientId: 'client', scopes: 'read write' }
}

for (const enabled of [true, false]) {
  t.test(`request.auth reaches tools as authInfo, with sessions ${enabled}`, async (t) => {
    let auth: unknown = AUTH
    const { app } = await stageEndpoint(t, {
      sessions: { enabled },
      equip: addWhoAmI,
      before (app) {
        app.addHook('preHandler', async (request) => { Object.assign(request, { auth }) })
      }
    })
    const id = enabled ? await open(app) : 'none'
    const whoAmI = async (): Promise<unknown> => parseMessage(await callTool(app, id, 'whoami'))
    t.strictSame(await whoAmI(), { jsonrpc: '2.0', id: 7, result: { content: [{ type: 'text', text: JSON.stringify(AUTH) }] } })

    auth = { ...AUTH, token: 'refreshed' }
    t.match(await whoAmI(), { result: { content: [{ text: JSON.stringify(auth) }] } }, 'it is that of the request, not of the session')

    for (const [name, value] of Object.entries(notAuth)) {
      auth = value
      t.match(await whoAmI(), { result: { content: [{ text: 'null' }] } }, name)
    }
  })
}

t.test('a client cannot say of itself who it is', async (t) => {
  const { app } = await stageEndpoint(t, { equip: addWhoAmI })
  const id = await open(app)
  const response = await post(app, rpc('tools/call', { name: 'whoami', auth: AUTH, authInfo: AUTH, _meta: { auth: AUTH, authInfo: AUTH } }), {
    headers: { 'mcp-session-id': id, auth: JSON.stringify(AUTH) }
  })
  t.match(parseMessage(response), { result: { content: [{ text: 'null' }] } })
})

t.test('createServer finds the auth of the request that opens the session', async (t) => {
  const { app, contexts } = await stageEndpoint(t, {
    before (app) { app.addHook('onRequest', async (request) => { Object.assign(request, { auth: AUTH }) }) }
  })
  await post(app, INITIALIZE)
  const request = contexts[0]?.request
  t.strictSame(request && readAuthInfo(request), AUTH)
})

t.test('a request without auth has none', async (t) => {
  const { request, reply } = await serveRequest(t)
  t.equal(readAuthInfo(request), undefined)
  for (const [name, auth] of Object.entries(notAuth)) t.equal(readAuthInfo(Object.assign(request, { auth })), undefined, name)
  reply.send()
})
