import { bearerAuthChallengeResponse, getOAuthProtectedResourceMetadataUrl, OAuthError, OAuthErrorCode } from '@modelcontextprotocol/server'
import t, { type Test } from 'tap'
import { readMessages } from '../../../lib/endpoint/transport/json-rpc.js'
import { findScopeChallenge, sendScopeChallenge, type ScopeChallenge } from '../../../lib/endpoint/transport/scope-challenge.js'
import type { Answer } from '../../helpers/clients/http-client.js'
import { serveRequest } from '../../helpers/apps/served-request.js'

async function send (t: Test, challenge: ScopeChallenge, authInfo?: object): Promise<Answer> {
  const { answer } = await serveRequest(t, { handle: (request, reply) => sendScopeChallenge(request, reply, challenge, authInfo) })
  return (await answer).end()
}

const messages = readMessages([
  { jsonrpc: '2.0', method: 'a' }, { jsonrpc: '2.0', id: 1, method: 'b' }, { jsonrpc: '2.0', id: 2, method: 'c' }, { jsonrpc: '2.0', id: 3, method: 'd' }
])

t.test('finds the challenge of the first request that has one', async (t) => {
  const asked: unknown[] = []
  const authInfo = { token: 'secret' }
  const found = await findScopeChallenge(async ({ request, ...rest }) => {
    asked.push([request.method, rest])
    return request.method === 'c' ? { scopes: ['admin'] } : undefined
  }, messages, authInfo)
  t.strictSame(found, { scopes: ['admin'] })
  t.strictSame(asked, [['b', { authInfo }], ['c', { authInfo }]], 'one after the other, and not of notifications')
})

t.test('finds none', async (t) => {
  const asked: string[][] = []
  t.equal(await findScopeChallenge((context) => { asked.push(Object.keys(context)) }, messages, undefined), undefined)
  t.strictSame(asked, [['request'], ['request'], ['request']])
  await t.rejects(findScopeChallenge(() => { throw new Error('cannot say') }, messages, undefined), { message: 'cannot say' })
})

t.test('answers as SDK 2 does', async (t) => {
  for (const [challenge, resource] of [
    [{ scopes: ['read', 'write'] }, undefined],
    [{ scopes: ['admin'], errorDescription: 'Ask your admin' }, 'https://mcp.example/'],
    [{ scopes: ['admin'] }, 'https://mcp.example:8443/api/mcp'],
    [{ scopes: ['admin'] }, 'http://mcp.example/api/?tenant=red#top']
  ] as const) {
    const authInfo = resource === undefined ? undefined : { resource: new URL(resource) }
    const { status, headers, text } = await send(t, challenge, authInfo)
    const theirs = bearerAuthChallengeResponse(new OAuthError(OAuthErrorCode.InsufficientScope, 'errorDescription' in challenge ? challenge.errorDescription : 'Insufficient scope'), {
      requiredScopes: [...challenge.scopes],
      ...(authInfo !== undefined && { resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(authInfo.resource) })
    })
    t.equal(status, theirs.status)
    t.equal(headers['www-authenticate'], theirs.headers.get('www-authenticate'))
    t.equal(headers['content-type'], 'application/json; charset=utf-8')
    t.strictSame(JSON.parse(text), await theirs.json())
  }
})

t.test('where the metadata are is what the authentication says, if it does', async (t) => {
  const resource = new URL('https://mcp.example/api')
  const cases: Array<[object | undefined, string | undefined]> = [
    [{ resourceMetadataUrl: 'https://mcp.example/meta', resource }, 'https://mcp.example/meta'],
    [{ resourceMetadataUrl: 1, resource }, 'https://mcp.example/.well-known/oauth-protected-resource/api'],
    [{ resource: new URL('urn:mcp:api') }, undefined],
    [{ resource: 'https://mcp.example/api' }, undefined],
    [{}, undefined],
    [undefined, undefined]
  ]
  for (const [authInfo, url] of cases) {
    const { headers } = await send(t, { scopes: ['a'] }, authInfo)
    t.equal(/resource_metadata="(.*)"/.exec(String(headers['www-authenticate']))?.[1], url)
  }
})

t.test('whatever the app says fits into a header', async (t) => {
  const { headers } = await send(t, { scopes: [], errorDescription: 'a "quote", a \\ and\r\nsomething: else äöü' })
  t.equal(headers['www-authenticate'], 'Bearer error="insufficient_scope", error_description="a \\"quote\\", a \\\\ and??something: else ???"')
})
