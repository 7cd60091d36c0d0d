import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { buildApp } from '../../examples/endpoint.js'
import { call, openSession } from '../helpers/http-client.js'
import { listen } from '../helpers/app.js'

const SERVER = fileURLToPath(new URL('../../examples/server.ts', import.meta.url))

interface Started {
  readonly child: ChildProcess
  readonly url: URL
}

/** The example as a process of its own, once it listens. */
async function start (t: Test, ...args: string[]): Promise<Started> {
  const child = spawn(process.execPath, ['--import', 'tsx', SERVER, ...args], {
    env: { ...process.env, PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.setEncoding('utf8')
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    output += String(chunk)
    const [, url] = /^MCP endpoint: (\S+)$/m.exec(output) ?? []
    if (url === undefined) continue
    child.stdout.resume()
    return { child, url: new URL(url) }
  }
  throw new Error(`The example does not start: ${output}`)
}

t.setTimeout(120_000)

t.test('the notes can be read and written', async (t) => {
  const app = await buildApp()
  t.teardown(() => app.close())
  const client = await openSession(t, new URL(`http://127.0.0.1:${await listen(app)}/mcp`))
  t.match((await (await client.post(call(2, 'add_note', { text: 'from a test' }))).end()).text, 'Note 1 added')
  t.match((await (await client.post(call(3, 'list_notes'))).end()).text, 'from a test')
  t.match((await app.inject('/notes/1')).body, 'from a test')
  t.strictSame((await app.inject('/health')).json(), { status: 'ok', activeSessions: 1 })
})

t.test('Ctrl-C ends the example cleanly, with a stream open', { skip: process.platform === 'win32' && 'no SIGINT there' }, async (t) => {
  for (const args of [[], ['hand-wired']]) {
    const { child, url } = await start(t, ...args)
    const client = await openSession(t, url)
    const stream = await client.get()
    const exited = once(child, 'exit')
    child.kill('SIGINT')
    await stream.end()
    t.ok(stream.ended, 'the stream ends in good order')
    t.strictSame(await exited, [0, null])
  }
})
