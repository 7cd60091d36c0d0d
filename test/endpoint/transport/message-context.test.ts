import t from 'tap'
import { createContext } from '../../../lib/endpoint/transport/message-context.js'
import { serveRequest } from '../../helpers/apps/served-request.js'

const AUTH = { token: 'secret', clientId: 'client', scopes: [] }

t.test('a message for SDK 1 comes with the headers and the URL of its request', async (t) => {
  const { request, reply } = await serveRequest(t, { headers: { 'x-custom': 'one' } })
  const context = createContext(request, 1)
  t.strictSame(Object.keys(context), ['requestInfo'])
  t.equal(context.requestInfo?.headers, request.headers)
  t.type(context.requestInfo?.url, URL)
  t.equal(context.requestInfo?.url.href, `http://${request.host}/mcp?x=1`)
  reply.send()
})

t.test('a message for SDK 2 comes with the request', async (t) => {
  const { request, reply } = await serveRequest(t, { headers: { 'x-custom': 'one' } })
  const context = createContext(request, 2)
  t.strictSame(Object.keys(context), ['request'])
  const made = context.request
  if (made === undefined) throw new Error('There is no request')
  t.type(made, Request)
  t.strictSame([made.method, made.url, made.headers.get('x-custom')], ['POST', `http://${request.host}/mcp?x=1`, 'one'])
  t.equal(made.headers, made.headers, 'it is made once')
  t.strictSame(['headers' in made, 'clone' in made, 'something' in made], [true, true, false])
  t.equal(made.clone().url, made.url, 'methods are those of the request')
  t.equal(await made.text(), '', 'its body has been read')
  t.equal(made.signal.aborted, false)
  reply.send()
})

t.test('who is calling is what the app has found out', async (t) => {
  const { request, reply } = await serveRequest(t)
  Object.assign(request, { auth: AUTH })
  for (const sdk of [1, 2] as const) t.equal(createContext(request, sdk).authInfo, AUTH)
  reply.send()
})
