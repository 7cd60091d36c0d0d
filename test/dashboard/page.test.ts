// What is served under the prefix, whatever the prefix is.
import Fastify from 'fastify'
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import mcpSessions from '../../index.js'
import sessionsDashboard from '../../lib/dashboard/index.js'
import { listen } from '../helpers/apps/app.js'
import { ask, buildDashboard } from '../helpers/apps/dashboard-app.js'

const PAGE = new URL('../../lib/dashboard/page/', import.meta.url)
const TYPES = { html: 'text/html', js: 'text/javascript', css: 'text/css' }
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

t.test('the page is the files that it is made of, and can do nothing that it need not', async (t) => {
  const { ask } = await buildDashboard(t)
  const files = readdirSync(PAGE)
  t.ok(['index.html', 'dashboard.js', 'dashboard.css'].every((file) => files.includes(file)))
  for (const file of files) {
    const type = Object.entries(TYPES).find(([ending]) => file.endsWith(`.${ending}`))?.[1]
    const { status, headers, text } = await ask(file === 'index.html' ? '/sessions/' : `/sessions/${file}`)
    t.equal(status, 200)
    t.equal(text, readFileSync(new URL(file, PAGE), 'utf8'))
    t.equal(headers['content-type'], `${type}; charset=utf-8`)
    t.match(headers, {
      'content-security-policy': POLICY,
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': 'same-origin',
      'cross-origin-opener-policy': 'same-origin'
    })
  }
})

t.test('without a slash at its end, it leads to where the relative URLs of the page are right', async (t) => {
  const { ask } = await buildDashboard(t)
  for (const [path, location] of [['/sessions', './sessions/'], ['/sessions?search=x', './sessions/?search=x']] as const) {
    const { status, headers } = await ask(path)
    t.equal(status, 302)
    t.equal(headers.location, location)
    t.equal(new URL(location, `http://host${path}`).pathname, '/sessions/')
  }
  t.equal((await ask('/sessions/?search=x')).status, 200)
  t.equal((await ask('/sessions/', { method: 'HEAD' })).status, 200)
  t.equal((await ask('/sessions/events', { method: 'HEAD' })).status, 404, 'no stream is opened for nobody')
})

t.test('an app that does not care for the slash has it all the same', async (t) => {
  const { ask } = await buildDashboard(t, { server: { routerOptions: { ignoreTrailingSlash: true } } })
  t.equal((await ask('/sessions')).headers.location, './sessions/')
  t.equal((await ask('/sessions/')).status, 200)
  t.equal((await ask('/sessions/state')).status, 200)
})

t.test('it can be at the root', async (t) => {
  const { ask } = await buildDashboard(t, { prefix: '' })
  t.equal((await ask('/')).status, 200)
  t.equal((await ask('/dashboard.js')).status, 200)
  t.equal((await ask('/state')).status, 200)
})

t.test('it can be at a place within another one, twice in one app', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(mcpSessions)
  await app.register(async function admin (scope) {
    await scope.register(sessionsDashboard, { prefix: '/mcp/sessions', authorize () {} })
  }, { prefix: '/admin' })
  await app.register(sessionsDashboard, { prefix: '/', authorize: 'loopback' })
  const port = await listen(app)
  t.equal((await ask(port, '/admin/mcp/sessions')).headers.location, './sessions/')
  t.equal((await ask(port, '/admin/mcp/sessions/')).status, 200)
  t.equal((await ask(port, '/admin/mcp/sessions/state')).status, 200)
  t.equal((await ask(port, '/state')).status, 200)
})
