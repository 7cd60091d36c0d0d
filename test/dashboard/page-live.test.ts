import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import type { FastifyInstance } from 'fastify'
import type { Browser, Page } from 'playwright-core'
import { test, type Test } from 'tap'
import { mcpEndpoint } from '../../index.js'
import sessionsDashboard from '../../lib/dashboard/index.js'
import { hashSessionId } from '../../lib/session/session-id.js'
import { portOf } from '../helpers/apps/app.js'
import { launchChromium, needsChromium, openPage, type Opened } from '../helpers/clients/chromium.js'
import { createCluster } from '../helpers/cluster/cluster-apps.js'
import { ClusterNode } from '../helpers/cluster/cluster.js'
import { buildEndpoint, type EndpointApp } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient } from '../helpers/clients/http-client.js'
import { connectSdkClient } from '../helpers/clients/sdk-clients.js'
import { ToolServer } from '../helpers/mcp-servers/tool-server.js'
import type { RedisAddress } from '../helpers/redis/redis-client.js'
import { freePort, needsRedis, startRedis } from '../helpers/redis/redis-server.js'

interface Served extends EndpointApp {
  readonly mcp: URL
  readonly url: string
}

/** An app with an endpoint and the page. Who asks is whom the header `x-user` names. */
async function serve (t: Test, { prefix = '/sessions', port = 0 }: { prefix?: string, port?: number } = {}): Promise<Served> {
  const endpoint = await buildEndpoint(t, {
    sessions: { identify: ({ headers }) => headers['x-user']?.toString() },
    server: { forceCloseConnections: true },
    async before (app) {
      await app.register(sessionsDashboard, { prefix, authorize: 'loopback' })
    }
  })
  await endpoint.app.listen({ port, host: '127.0.0.1' })
  const mcp = new URL(`http://127.0.0.1:${portOf(endpoint.app)}/mcp`)
  return { ...endpoint, mcp, url: new URL(`${prefix}/`, mcp).href }
}

interface Connected {
  readonly client: Client
  readonly id: string
  readonly hash: string
}

async function connect (t: Test, mcp: URL, name: string, { version = '1.0.0', user }: { version?: string, user?: string } = {}): Promise<Connected> {
  const client = new Client({ name, version }, { versionNegotiation: { mode: 'legacy' } })
  const transport = new StreamableHTTPClientTransport(mcp, { requestInit: { headers: user === undefined ? {} : { 'x-user': user } } })
  await client.connect(transport)
  t.teardown(() => client.close())
  const id = String(transport.sessionId)
  return { client, id, hash: hashSessionId(id) }
}

async function visit (t: Test, browser: Browser, url: string, options: Parameters<typeof openPage>[2] = {}): Promise<Opened> {
  const opened = await openPage(t, browser, options)
  await opened.page.goto(url)
  await opened.page.locator('#connection', { hasText: 'Live' }).waitFor()
  return opened
}

function rowOf (page: Page, { hash }: { hash: string }) {
  return page.locator('#session-rows tr', { hasText: hash })
}

async function rowsAre (page: Page, hashes: string[]): Promise<void> {
  const rows = page.locator('#session-rows tr')
  for (const [index, hash] of hashes.entries()) await rows.nth(index).getByText(hash).waitFor()
  await rows.nth(hashes.length).waitFor({ state: 'detached' })
}

test('The page, with clients of MCP', needsChromium(), async (t) => {
  const browser = await launchChromium(t)

  await t.test('shows sessions as they come, finds them and ends them', async (t) => {
    const { mcp, url } = await serve(t)
    const { page, troubles } = await visit(t, browser, url)
    await page.getByText('There are no sessions yet').waitFor()

    const weather = await connect(t, mcp, 'weather-agent', { version: '2.1.0', user: 'ada@example.com' })
    const notes = await connect(t, mcp, 'notes')
    const { sessionId } = await connectSdkClient(t, 'SDK 1', mcp)
    await page.locator('#count', { hasText: 'showing 3 of 3' }).waitFor()
    t.equal(await page.locator('#total-sessions').innerText(), '3')
    t.match(await rowOf(page, weather).innerText(), /weather-agent 2\.1\.0\s+ada@example\.com\s.*2025-11-25/s)
    t.match(await rowOf(page, notes).innerText(), /notes 1\.0\.0\s+\(anonymous\)/)
    t.equal(await rowOf(page, { hash: hashSessionId(sessionId) }).count(), 1)
    t.notOk((await page.content()).includes(weather.id), 'an id is no business of those who look')
    await page.getByRole('img', { name: 'Opened: 3 in the last hour' }).waitFor()

    const cutOff = t.rejects(notes.client.callTool({ name: 'wait' }))
    await page.locator('#total-inFlight', { hasText: '1' }).waitFor()

    await page.getByRole('searchbox', { name: 'Search' }).fill('WEATHER-agent 2.1')
    await page.locator('#said', { hasText: 'showing 1 of 1 (3 in all)' }).waitFor()
    t.equal(await page.locator('#session-rows tr').count(), 1)
    await page.getByRole('searchbox', { name: 'Search' }).fill('nobody')
    await page.getByText('No session matches the search').waitFor()

    await page.getByRole('searchbox', { name: 'Search' }).fill(notes.hash)
    await page.getByRole('button', { name: `End session ${notes.hash}` }).click()
    const dialog = page.getByRole('dialog', { name: 'End this session?' })
    t.match(await dialog.innerText(), /of notes, 1 in flight/)
    await dialog.getByRole('button', { name: 'End session' }).click()
    await page.locator('#said', { hasText: `Session ${notes.hash} has been ended` }).waitFor()
    await cutOff
    await t.rejects(notes.client.listTools(), 'its client is told')
    await weather.client.listTools()
    await page.getByRole('searchbox', { name: 'Search' }).fill('')
    await page.locator('#count', { hasText: 'showing 2 of 2' }).waitFor()
    await page.getByRole('img', { name: 'Closed, by reason: 1 in the last hour' }).waitFor()
    t.strictSame(troubles, [])
  })
  await t.test('is used with a keyboard alone', async (t) => {
    const { mcp, url } = await serve(t)
    const first = await connect(t, mcp, 'probe-a')
    const second = await connect(t, mcp, 'probe-b')
    await connect(t, mcp, 'other')
    const { page } = await visit(t, browser, url)
    const focused = (): Promise<string> => page.evaluate('document.activeElement.getAttribute("aria-label") ?? document.activeElement.id')
    const press = async (...keys: string[]): Promise<void> => { for (const key of keys) await page.keyboard.press(key) }

    await press('Tab', 'Enter', 'Tab')
    t.equal(await focused(), 'search', 'the first link leads to the sessions')
    await page.keyboard.type('PROBE')
    await page.locator('#said', { hasText: 'showing 2 of 2 (3 in all)' }).waitFor()
    t.equal(await focused(), 'search')

    await press('Tab', 'Tab', 'Tab', 'Enter')
    const head = page.locator('th[data-sort=client]')
    await page.locator('th[data-sort=client][aria-sort=ascending]').waitFor()
    await rowsAre(page, [first.hash, second.hash])
    await press('Enter')
    await rowsAre(page, [second.hash, first.hash])
    t.equal(await head.getAttribute('aria-sort'), 'descending')
    t.equal(await page.locator('[aria-sort]').count(), 1)

    for (let tabs = 0; tabs < 20 && await focused() !== `End session ${second.hash}`; tabs++) await press('Tab')
    await press('Enter')
    t.equal(await focused(), 'ending-keep', 'what does no harm comes first')
    await press('Escape')
    t.equal(await focused(), `End session ${second.hash}`, 'the focus is back')
    await press('Enter', 'Enter')
    t.equal(await focused(), `End session ${second.hash}`)
    await second.client.listTools()

    await press('Enter', 'Tab', 'Enter')
    await page.locator('#said', { hasText: `Session ${second.hash} has been ended` }).waitFor()
    await rowsAre(page, [first.hash])
    t.equal(await focused(), `End session ${first.hash}`, 'the next row has the focus')
    await t.rejects(second.client.listTools())
  })

  await t.test('takes names for text, whatever is in them', async (t) => {
    const { mcp, url } = await serve(t)
    const markup = await connect(t, mcp, '<script>alert(1)</script>', { version: '"><img src=x onerror=alert(2)>', user: '<b onclick=alert(3)>' })
    const long = await connect(t, mcp, 'A'.repeat(10_240), { version: 'B'.repeat(10_240) })
    const turned = await connect(t, mcp, 'abc\u202Egnp.exe\u2066', { version: '1\u0000\n\u200B0' })
    await connect(t, mcp, '\u0645\u0631\u062D\u0628\u0627', { version: '(1)' })
    for (const width of [1360, 360]) {
      const { page, troubles } = await visit(t, browser, url, { viewport: { width, height: 900 } })
      await page.locator('#session-rows tr').nth(3).waitFor()
      t.match(await rowOf(page, markup).innerText(), '<script>alert(1)</script> "><img src=x onerror=alert(2)>')
      t.match(await rowOf(page, markup).innerText(), '<b onclick=alert(3)>')
      t.equal(await page.locator('main img, main script, main b').count(), 0)
      t.ok((await rowOf(page, long).innerText()).includes(`${'A'.repeat(80)}…`))
      t.match(await rowOf(page, turned).innerText(), 'abc\\u{202e}gnp.exe\\u{2066} 1\\u{0}\\u{a}\\u{200b}0')
      t.equal(await page.evaluate('getComputedStyle([...document.querySelectorAll(\'bdi\')].find(({ textContent }) => textContent.includes(\'\u0645\'))).unicodeBidi'), 'isolate')
      t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'the layout holds')
      const heights = await page.evaluate<number[]>('[...document.querySelectorAll("#session-rows tr")].map((row) => row.offsetHeight)')
      t.ok(Math.max(...heights) <= Math.min(...heights) + 2, 'no row is higher than another')

      await page.getByRole('button', { name: `End session ${markup.hash}` }).click()
      t.match(await page.getByRole('dialog').innerText(), '<script>alert(1)</script>')
      await page.getByRole('button', { name: 'Keep it' }).click()
      t.strictSame(troubles, [], 'nothing ran, and nothing had to be kept from running')
    }
  })

  await t.test('shows 10,000 sessions', async (t) => {
    const { app, mcp, url } = await serve(t)
    for (let count = 1; count < 10_000; count++) app.sessionManager.create()
    const last = await connect(t, mcp, 'needle')
    const { page, troubles } = await visit(t, browser, url)
    await page.locator('#count', { hasText: 'showing 100 of 10,000' }).waitFor()
    t.equal(await page.locator('#session-rows tr').count(), 100)
    t.ok(await page.evaluate<number>('document.querySelectorAll("*").length') < 4000, 'the others are no burden to the browser')

    await page.locator('th[data-sort=age] button').click()
    await page.locator('#said', { hasText: 'showing 100 of 10,000' }).waitFor()
    await page.getByRole('searchbox', { name: 'Search' }).fill('needle')
    await page.locator('#count', { hasText: 'showing 1 of 1 (10,000 in all)' }).waitFor()
    await rowsAre(page, [last.hash])
    t.strictSame(troubles, [])
  })

  await t.test('shows what becomes of a node that is killed, and of its sessions', needsRedis(), async (t) => {
    const { url: redisUrl, stop } = await startRedis()
    t.teardown(stop)
    const lease = 1500
    const routes = async (app: FastifyInstance): Promise<void> => {
      await app.register(mcpEndpoint, { createServer: () => new ToolServer().mcp })
      await app.register(sessionsDashboard, { prefix: '/sessions', authorize: 'loopback' })
    }
    const here = await createCluster(t, redisUrl)({ routes, cluster: { lease } })
    const redis: RedisAddress = { kind: 'alone', ports: [Number(new URL(redisUrl).port)] }
    const node = new ClusterNode({ port: await freePort(), redis, prefix: here.prefix, lease })
    t.teardown(() => node.end('SIGKILL'))
    await node.start()
    const [moved, left] = [await connect(t, node.url, 'moved'), await connect(t, node.url, 'left')]
    const { page, troubles } = await visit(t, browser, `${here.url}/sessions/`)
    const nodes = page.locator('#node-rows tr')
    const theirs = nodes.filter({ hasText: node.url.origin })
    await theirs.filter({ hasText: 'Up' }).waitFor()
    const streams = (session: Connected) => rowOf(page, session).locator('td[data-label=Streams]')
    for (const session of [moved, left]) await streams(session).getByText('1', { exact: true }).waitFor()
    t.match(await rowOf(page, moved).innerText(), /moved 1\.0\.0/)
    const dead = await theirs.locator('th bdi').innerText()

    await node.end('SIGKILL')
    await theirs.filter({ hasText: 'Gone' }).filter({ hasText: 'over' }).waitFor()
    t.equal(await nodes.count(), 2)
    const mine = new HttpClient(t, new URL('/mcp', here.url))
    mine.sessionId = moved.id
    t.equal((await (await mine.post(call(2, 'echo', { text: 'hello' }))).end()).status, 200)
    const own = String(here.app.sessionDirectory.node)
    await rowOf(page, moved).filter({ hasText: own }).waitFor()
    t.match(await rowOf(page, left).innerText(), dead, 'what nobody has asked for waits where it was')
    await page.getByRole('button', { name: `End session ${left.hash}` }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'End session' }).click()
    await page.locator('#count', { hasText: 'showing 1 of 1' }).waitFor()
    t.strictSame(troubles, [])
  })

  await t.test('comes back when the server does', async (t) => {
    const before = await serve(t)
    const { client } = await connect(t, before.mcp, 'early')
    const { page } = await openPage(t, browser)
    await page.clock.install()
    await page.goto(before.url)
    await page.getByText('early 1.0.0').waitFor()
    await client.close()
    await before.app.close()
    await page.locator('#connection', { hasText: 'Connection lost' }).waitFor()
    t.ok(await page.getByText('early 1.0.0').isVisible(), 'what was last known can still be read')

    const after = await serve(t, { port: Number(before.mcp.port) })
    await connect(t, after.mcp, 'late')
    await page.clock.runFor(30_000)
    await page.locator('#connection', { hasText: 'Live' }).waitFor()
    await page.getByText('late 1.0.0').waitFor()
    t.equal(await page.getByText('early 1.0.0').count(), 0)
  })

  await t.test('is under any prefix, with a slash at its end or without', async (t) => {
    for (const prefix of ['', '/a/b/sessions']) {
      const { url } = await serve(t, { prefix })
      const { page, troubles } = await openPage(t, browser)
      for (const address of [url, url.replace(/\/$/, ''), url.replace(/\/$/, '?from=mail')]) {
        await page.goto(address)
        await page.locator('#connection', { hasText: 'Live' }).waitFor()
      }
      t.strictSame(troubles, [])
    }
  })
})
