import { test } from 'tap'
import { findBarriers, launchChromium, needsChromium, openPage } from '../helpers/clients/chromium.js'
import { until } from '../helpers/waiting/until.js'
import { CLUSTER, hashOf, makeHistory, makeRow, makeState, serveScript } from './page-fixture.js'

const WIDE = { width: 1360, height: 900 }
const NARROW = { width: 360, height: 740 }

test('The page, with a server that says what a test wants', needsChromium(), async (t) => {
  const browser = await launchChromium(t)

  await t.test('bars nobody from it, light and dark, wide and narrow', async (t) => {
    const server = await serveScript(t, makeState(12, { ...CLUSTER, history: makeHistory() }))
    const { page, troubles } = await openPage(t, browser)
    await page.goto(server.url)
    const look = async (what: string): Promise<void> => {
      for (const viewport of [WIDE, NARROW]) {
        await page.setViewportSize(viewport)
        await page.emulateMedia({ colorScheme: 'light' })
        t.strictSame(await findBarriers(page), [], `${what}, ${viewport.width} pixels wide`)
        t.ok(await page.evaluate<boolean>('document.documentElement.scrollWidth <= innerWidth'), 'it has to be scrolled in one direction only')
        await page.emulateMedia({ colorScheme: 'dark' })
        t.strictSame(await findBarriers(page, ['color-contrast']), [], `${what}, ${viewport.width} pixels wide, dark: the colours are all that changes`)
      }
    }
    await page.locator('#connection', { hasText: 'Live' }).waitFor()
    await look('live')
    await page.locator('summary').click()
    await page.locator('th[data-sort=age] button').click()
    await page.locator('#said', { hasText: 'showing 12 of 12' }).waitFor()
    await page.getByRole('button', { name: `End session ${hashOf(2)}` }).click()
    await look('with a question')
    await page.keyboard.press('Escape')
    t.strictSame(troubles, [])
    server.status = 503
    server.cut()
    await page.locator('#connection', { hasText: 'Connection lost' }).waitFor()
    await look('without a server')
  })

  await t.test('draws the last hour, and has it as a table', async (t) => {
    const history = makeHistory()
    const server = await serveScript(t, makeState(1, { history }))
    const { page, troubles } = await openPage(t, browser, { viewport: WIDE, timezoneId: 'UTC' })
    await page.goto(server.url)
    const sum = (count: (bucket: typeof history.buckets[number]) => number | undefined): number => {
      return history.buckets.reduce((total, bucket) => total + (count(bucket) ?? 0), 0)
    }
    const opened = sum((bucket) => bucket.opened)
    const deleted = sum(({ closed }) => closed['deleted'])
    await page.getByRole('img', { name: `Opened: ${opened} in the last hour` }).waitFor()
    await page.getByRole('img', { name: `deleted ${deleted}` }).waitFor()
    await page.getByRole('img', { name: 'Rejected, by code: 30 in the last hour, not found 20, opening rate 10' }).waitFor()
    await page.getByRole('img', { name: `Active sessions: now ${history.buckets.at(-1)?.active}` }).waitFor()
    t.equal(await page.locator('figure').nth(1).locator('rect[class^=series]').count(), history.buckets.filter((bucket) => bucket.opened > 0).length)
    t.match(await page.locator('.curve').getAttribute('points'), /^(\S+ ){59}\S+$/)

    await page.getByText('The last hour as a table').click()
    const rows = page.locator('#history-rows tr')
    await rows.nth(59).waitFor()
    t.equal(await rows.count(), 60)
    const { at = 0, active, opened: inLast, closed } = history.buckets.at(-1) ?? {}
    const text = await rows.first().innerText()
    t.ok(text.startsWith(`${new Date(at).toISOString().slice(11, 16)}\t${active}\t${inLast}`), 'the newest is the first')
    t.ok(text.includes(`idle ${closed?.['idle']}`) || closed?.['idle'] === 0)
    t.strictSame(troubles, [])
  })

  await t.test('counts together what there are no colours for', async (t) => {
    const closed = Object.fromEntries(Array.from({ length: 10 }, (_, index) => [`reason-${index}`, 100 - index]))
    const server = await serveScript(t, makeState(1, { history: { interval: 60_000, buckets: [{ at: Date.now(), active: 1, opened: 0, closed, rejected: {} }] } }))
    const { page } = await openPage(t, browser)
    await page.goto(server.url)
    const legend = page.locator('figure').nth(2).locator('li')
    await legend.nth(7).waitFor()
    t.equal(await legend.count(), 8)
    t.equal(await legend.last().innerText(), `other ${93 + 92 + 91}`)
  })

  await t.test('says in words which nodes are gone, and has no nodes without a cluster', async (t) => {
    const server = await serveScript(t, makeState(3, CLUSTER))
    const { page } = await openPage(t, browser, { viewport: WIDE })
    await page.goto(server.url)
    const rows = page.locator('#node-rows tr')
    await rows.nth(2).waitFor()
    t.match(await rows.nth(0).innerText(), /alpha-1\s*this node\s*Up\s*8\.4s\s*61\s.*10\.0\.3\.17/s)
    t.match(await rows.nth(2).innerText(), /gamma-3\s*✕ Gone\s*over\s*12/s)
    await page.setViewportSize(NARROW)
    const { width = 0, x = 0 } = await rows.nth(2).getByText('Gone').boundingBox() ?? {}
    t.ok(x > 0 && x + width < NARROW.width, 'on a phone it need not be looked for')
    await page.setViewportSize(WIDE)
    t.ok(await page.locator('th[data-sort=node]').isVisible())

    server.say(makeState(3))
    await page.locator('#nodes').waitFor({ state: 'hidden' })
    t.notOk(await page.locator('th[data-sort=node]').isVisible())
  })

  await t.test('leaves alone what has not changed, and what has the focus', async (t) => {
    const state = makeState(6)
    const server = await serveScript(t, state)
    const { page } = await openPage(t, browser)
    await page.goto(server.url)
    const button = page.getByRole('button', { name: `End session ${hashOf(3)}` })
    await button.focus()
    await page.evaluate(`
      window.changes = []
      new MutationObserver((records) => { changes.push(...records) }).observe(document.querySelector('#session-rows'), { childList: true, subtree: true })
      new MutationObserver((records) => { changes.push(...records) }).observe(document.querySelector('#charts'), { childList: true, subtree: true })
    `)
    server.say({ ...state, at: state.at + 1000 })
    server.say({ ...state, totals: { ...state.totals, sessions: 7 } })
    await page.locator('#total-sessions', { hasText: '7' }).waitFor()
    // Ages go on by themselves, and are but text.
    t.equal(await page.evaluate('changes.filter(({ target, addedNodes }) => target.localName !== "bdi").length'), 0)

    const rows = state.sessions.rows.toReversed()
    server.say({ ...state, sessions: { total: 6, matching: 6, rows } })
    await page.locator('#session-rows tr').first().getByText(hashOf(5)).waitFor()
    t.strictSame(await page.locator('#session-rows th bdi').allInnerTexts(), rows.map(({ hash }) => hash))
    t.equal(await page.evaluate('document.activeElement.getAttribute("aria-label")'), `End session ${hashOf(3)}`, 'the focus is where it was')

    server.say(makeState(3))
    await page.locator('#count', { hasText: 'showing 3 of 3' }).waitFor()
    t.equal(await page.evaluate('document.activeElement.getAttribute("aria-label")'), `End session ${hashOf(2)}`, 'a row that goes hands it on')
    server.say(makeState(0))
    await page.getByText('There are no sessions yet').waitFor()
    t.equal(await page.evaluate('document.activeElement.id'), 'search')
  })

  await t.test('goes on counting while the server has nothing to say', async (t) => {
    const rows = [makeRow(0, { age: 59_000, idle: 3000, inFlight: 0 }), makeRow(1, { age: 90_061_000, idle: 3000, inFlight: 1 })]
    const server = await serveScript(t, makeState(0, { sessions: { total: 2, matching: 2, rows } }))
    const { page } = await openPage(t, browser)
    await page.clock.install()
    await page.goto(server.url)
    await page.locator('#connection', { hasText: 'Live' }).waitFor()
    await page.clock.runFor(10_000)
    const quiet = await page.locator('#session-rows tr').nth(0).innerText()
    const busy = await page.locator('#session-rows tr').nth(1).innerText()
    t.match(quiet, /1m (08|09|10)s\s+1[234]s/)
    t.match(busy, /1d 1h\s+3s/, 'one that is at work is not idle')
  })

  await t.test('says that the server is gone, and comes back by itself', async (t) => {
    const server = await serveScript(t, makeState(2))
    const { page } = await openPage(t, browser)
    await page.clock.install()
    await page.goto(server.url)
    const connection = page.locator('#connection')
    await connection.getByText('Live').waitFor()
    server.status = 503
    server.cut()
    await connection.getByText('Connection lost').waitFor()
    t.equal(await page.title(), 'Connection lost – MCP sessions')
    t.match(await connection.innerText(), /What you see is from \d\d:\d\d:\d\d/)
    t.equal(await page.locator('#session-rows tr').count(), 2, 'what was there can still be read')
    await page.clock.runFor(1000)
    await connection.getByText('HTTP 503').waitFor()

    server.status = 200
    await page.clock.runFor(2000)
    await connection.getByText('Live').waitFor()
    t.equal(await page.title(), 'MCP sessions')
    t.equal(server.streams, 1)

    server.status = 401
    server.cut()
    await page.clock.runFor(1000)
    await connection.getByText('load the page again to sign in').waitFor()
  })

  await t.test('waits longer each time, at most half a minute', async (t) => {
    const server = await serveScript(t, makeState(2))
    const { page } = await openPage(t, browser)
    let asked = 0
    page.on('request', (request) => { if (request.url().includes('/state?')) asked++ })
    await page.addInitScript('Math.random = () => 1')
    await page.clock.install({ time: 0 })
    await page.clock.pauseAt(1000)
    server.status = 503
    await page.goto(server.url)
    await page.locator('#connection', { hasText: 'HTTP 503' }).waitFor()
    for (const [before, wait] of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000].entries()) {
      await page.clock.runFor(wait - 100)
      t.equal(asked, before + 1, `not again in less than ${wait} ms`)
      server.status = 504 + before
      await page.clock.runFor(100)
      await page.locator('#connection', { hasText: `HTTP ${server.status}` }).waitFor()
      t.equal(asked, before + 2, `again after ${wait} ms`)
    }
  })

  await t.test('takes an old stream that ends for nothing to speak of', async (t) => {
    const server = await serveScript(t, makeState(2))
    const { page } = await openPage(t, browser)
    await page.clock.install()
    await page.goto(server.url)
    await page.locator('#connection', { hasText: 'Live' }).waitFor()
    await page.clock.runFor(6000)
    await page.evaluate('new MutationObserver(() => { window.spoken = true }).observe(document.querySelector("#connection"), { childList: true })')
    server.cut()
    server.say(makeState(5))
    await page.locator('#count', { hasText: 'showing 5 of 5' }).waitFor()
    await until(() => server.streams === 1, 'a new stream is open')
    t.notOk(await page.evaluate('window.spoken'))
  })

  await t.test('notices that a silent connection is dead', async (t) => {
    const server = await serveScript(t, makeState(2))
    const { page } = await openPage(t, browser)
    await page.clock.install()
    await page.goto(server.url)
    await page.locator('#connection', { hasText: 'Live' }).waitFor()
    await page.route('**/state?*', (route) => route.abort())
    await page.clock.runFor(20_000)
    await page.locator('#connection', { hasText: 'The server does not answer' }).waitFor()
  })

  await t.test('stands still when it is told to', async (t) => {
    const server = await serveScript(t, makeState(2))
    const { page } = await openPage(t, browser)
    await page.goto(server.url)
    await page.locator('#connection', { hasText: 'Live' }).waitFor()
    const pause = page.getByRole('button', { name: 'Pause' })
    await pause.click()
    await page.locator('#connection', { hasText: 'Paused' }).waitFor()
    t.equal(await pause.getAttribute('aria-pressed'), 'true')
    await until(() => server.streams === 0, 'the stream is closed')
    server.say(makeState(4))
    t.equal(await page.locator('#session-rows tr').count(), 2)
    await page.locator('th[data-sort=age] button').click()
    await page.locator('#count', { hasText: 'showing 4 of 4' }).waitFor()
    t.equal(await page.locator('#connection').innerText(), 'Paused', 'a question is answered all the same')
    await pause.click()
    await page.locator('#connection', { hasText: 'Live' }).waitFor()
  })

  await t.test('says what became of an end that failed', async (t) => {
    const server = await serveScript(t, makeState(2, { sessions: { total: 2, matching: 2, rows: [makeRow(0), makeRow(1, { endable: false })] } }))
    const { page } = await openPage(t, browser)
    await page.goto(server.url)
    await page.locator('#session-rows tr').nth(1).waitFor()
    t.equal(await page.getByRole('button', { name: /^End session/ }).count(), 1)
    t.match(await page.locator('#session-rows tr').nth(1).innerText(), /cannot be ended from here/)

    const said = page.locator('#said')
    const end = async (): Promise<void> => {
      await page.getByRole('button', { name: `End session ${hashOf(0)}` }).click()
      await page.getByRole('dialog').getByRole('button', { name: 'End session' }).click()
    }
    server.status = 502
    await end()
    await said.getByText('was not ended (HTTP 502): The node of the session does not answer').waitFor()
    server.status = 404
    await end()
    await said.getByText('had gone already').waitFor()
    await page.route('**/end', (route) => route.abort())
    await end()
    await said.getByText('the server did not answer').waitFor()
    t.strictSame(server.ended, [hashOf(0), hashOf(0)])
  })

  await t.test('knows where to go on when a session goes while somebody is asked whether it should', async (t) => {
    const server = await serveScript(t, makeState(3))
    const { page } = await openPage(t, browser)
    await page.goto(server.url)
    await page.getByRole('button', { name: `End session ${hashOf(2)}` }).click()
    server.say(makeState(2))
    await page.locator('#count', { hasText: 'showing 2 of 2' }).waitFor()
    t.ok(await page.getByRole('dialog').isVisible())
    await page.keyboard.press('Escape')
    await page.locator(`button[aria-label="End session ${hashOf(0)}"]:focus`).waitFor()
    t.strictSame(server.ended, [])
  })

  await t.test('knows of other nodes only what they tell', async (t) => {
    const rows = [makeRow(0, { node: 'alpha-1', inFlight: 2, streams: 1 }), makeRow(1, { node: 'beta-2', inFlight: null, streams: null, parked: null }), makeRow(2, { node: 'beta-2', inFlight: 3, streams: 0, parked: true }), makeRow(3, { node: 'gamma-3', inFlight: null, streams: null })]
    const server = await serveScript(t, makeState(0, { ...CLUSTER, sessions: { total: 4, matching: 4, rows } }))
    const { page } = await openPage(t, browser)
    await page.goto(server.url)
    await page.getByRole('heading', { name: 'This node: alpha-1' }).waitFor()
    const cells = (index: number): Promise<string[]> => page.locator('#session-rows tr').nth(index).locator('td').allInnerTexts()
    t.strictSame((await cells(0)).slice(4, 6), ['2', '1'])
    t.strictSame((await cells(1)).slice(4, 6), ['–', '–'])
    t.strictSame((await cells(2)).slice(4, 6), ['3', '0'])
    t.equal((await cells(1))[7], 'beta-2')
    const marks = await page.locator('#session-rows tr').evaluateAll((all) => all.map((row) => row.querySelector('.mark')?.checkVisibility()))
    t.strictSame(marks, [false, false, true, false], 'parked, as far as it is known')
    t.equal((await cells(3))[7], '✕ gamma-3', 'its node is gone')
    for (const [index, work] of ['2 in flight', 'on another node', '3 in flight'].entries()) {
      await page.getByRole('button', { name: `End session ${hashOf(index)}` }).click()
      await page.getByRole('dialog').getByText(work).waitFor()
      await page.keyboard.press('Escape')
    }
  })

  await t.test('moves nothing for those who do not want it', async (t) => {
    const server = await serveScript(t, makeState(2, CLUSTER))
    const { page } = await openPage(t, browser, { reducedMotion: 'reduce' })
    await page.goto(server.url)
    await page.locator('#node-rows tr').first().waitFor()
    await page.evaluate("document.querySelector('#light').dataset.state = 'connecting'")
    t.equal(await page.evaluate('document.getAnimations().length'), 0)
    await page.emulateMedia({ reducedMotion: 'no-preference' })
    t.equal(await page.evaluate('document.getAnimations().length'), 1)
  })
})
