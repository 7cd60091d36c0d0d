// What a newcomer does: npm start, copy, paste, Ctrl-C.
import t, { type Test } from 'tap'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { cleanEnv, readScript, start, type Child } from '../helpers/processes/child.js'
import { call, openSession } from '../helpers/clients/http-client.js'
import { connectRaw } from '../helpers/clients/raw-client.js'
import { until } from '../helpers/waiting/until.js'

const PROMPT = 2_000

// Starting TypeScript takes seconds on a small machine.
t.setTimeout(120_000)

function startServer (t: Test, port = '0'): Child {
  return start(t, ...readScript('start'), { PORT: port })
}

async function startedServer (t: Test): Promise<{ server: Child, url: string }> {
  const server = startServer(t)
  await server.says('curl -s -X DELETE')
  const url = /MCP endpoint: (http:\S+)\/mcp/.exec(server.stdout)?.[1]
  if (url === undefined) throw new Error(`No URL in ${server.stdout}`)
  return { server, url }
}

/** Waits until the server has logged so many requests with the method. */
async function hasCome (server: Child, method: string, times: number): Promise<void> {
  await until(() => server.stdout.split(`"method":"${method}"`).length > times, `${times} requests have come`)
}

function findCurl (t: Test): boolean {
  if (spawnSync('curl', ['--version'], { env: cleanEnv() }).status === 0) return true
  if (process.env['CI'] !== undefined) t.fail('curl is not installed, and the printed commands need it')
  else t.pass('the printed commands work', { skip: 'curl is not installed' })
  return false
}

t.test('the printed curl lines work as they are', async (t) => {
  if (!findCurl(t)) return
  const { server } = await startedServer(t)
  const lines = server.stdout.split('\n').filter((line) => /^(SESSION=|curl )/.test(line))
  t.equal(lines.length, 4)
  // Between the lines, so that their answers can be told apart.
  const script = lines.join('\nprintf "\\n--\\n"\n') + `\nprintf "\\n--\\n"\n${lines[1]}\nprintf "\\n--\\n"\n${lines[2]}`
  const shell = start(t, 'sh', ['-e', '-c', script])
  t.equal(await shell.ended, 0)
  t.equal(shell.stderr, '')
  const [session, call, health, closed, callAgain, healthAgain] = shell.stdout.split('\n--\n').map((text) => text.trim())
  t.equal(session, '')
  t.match(call, '"text":"Sessions end when nobody uses them."')
  t.strictSame(JSON.parse(health ?? ''), { status: 'ok', activeSessions: 1 })
  t.equal(closed, '')
  t.strictSame(JSON.parse(callAgain ?? '').error, { code: -32001, message: 'Session not found (HTTP 404)', data: { code: 'FST_ERR_MCP_SESSION_NOT_FOUND' } })
  t.strictSame(JSON.parse(healthAgain ?? ''), { status: 'ok', activeSessions: 0 })
})

t.test('Ctrl-C ends it promptly with exit code 0, with a stream open, a tool at work and connections on which nothing runs', async (t) => {
  const { server, url } = await startedServer(t)
  const client = await openSession(t, new URL(`${url}/mcp`))
  const stream = await client.get()
  const answer = client.post(call(2, 'count_down', { seconds: 1 }))
  await hasCome(server, 'POST', 2)
  // Browsers and fetch() open connections in advance. Node.js does not count these as idle, and waits for them.
  await connectRaw(t, Number(new URL(url).port))
  const keptAlive = await connectRaw(t, Number(new URL(url).port))
  keptAlive.get('/health')
  await keptAlive.see('activeSessions')

  const begin = performance.now()
  server.process.kill('SIGINT')
  t.equal(await server.ended, 0)
  t.ok(performance.now() - begin < PROMPT)
  t.match((await (await answer).end()).text, 'Lift-off')
  t.ok((await stream.end()).ended)
  t.equal(server.stderr, '')
})

t.test('a second signal while a tool is at work is harmless', async (t) => {
  const { server, url } = await startedServer(t)
  const client = await openSession(t, new URL(`${url}/mcp`))
  const answer = client.post(call(2, 'count_down', { seconds: 1 }))
  await hasCome(server, 'POST', 2)
  server.process.kill('SIGINT')
  // Fastify answers 503 to what comes while it closes.
  while ((await fetch(`${url}/health`)).status !== 503) await wait(10)
  server.process.kill('SIGINT')
  server.process.kill('SIGTERM')
  t.equal(await server.ended, 0)
  t.match((await (await answer).end()).text, 'Lift-off')
  t.equal(server.stderr, '')
})

t.test('a port in use is said clearly, with exit code 1', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await once(other, 'listening')
  const address = other.address()
  const port = String(typeof address === 'object' ? address?.port : address)
  const server = startServer(t, port)
  t.equal(await server.ended, 1)
  t.match(server.stderr, `Cannot listen on port ${port}: listen EADDRINUSE`)
  t.match(server.stderr, 'PORT=3001 npm start')
  t.notMatch(server.stderr, /^ {4}at /m, 'and not with a stack')
  t.notMatch(server.stdout, 'curl')
})

t.test('so is a port that is none', async (t) => {
  const server = startServer(t, 'http')
  t.equal(await server.ended, 1)
  t.match(server.stderr, 'Cannot listen on port http: ')
})
