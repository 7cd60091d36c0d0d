// The package as a user gets it: packed, unpacked into a project, imported, required, type-checked.
import t, { type Test } from 'tap'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { cleanEnv, ROOT, start, type Child } from './helpers/processes/child.js'
import { call, HttpClient, initialize, openSession } from './helpers/clients/http-client.js'
import { findBlocks, findTargets, readReadme, type DocumentBlock } from './helpers/docs/documents.js'
import { findTypeErrors } from './helpers/docs/type-errors.js'

// Building and packing takes seconds on a small machine.
t.setTimeout(180_000)

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))

function run (cwd: string, command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, env: cleanEnv(), encoding: 'utf8' })
  if (error !== undefined) throw error
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}: ${stdout}${stderr}`)
  return stdout
}

/** Links an installed package into a project, where it finds what it depends on through its real path. */
function link (project: string, name: string): void {
  const target = join(project, 'node_modules', name)
  mkdirSync(dirname(target), { recursive: true })
  symlinkSync(realpathSync(join(ROOT, 'node_modules', name)), target)
}

/** A project outside of this repository that has installed the package, what it needs, and what a project in TypeScript has. */
function installPacked (t: Test): { project: string, files: string[] } {
  const project = mkdtempSync(join(tmpdir(), 'fastify-mcp-sessions-'))
  t.teardown(() => rmSync(project, { recursive: true }))
  const [packed] = JSON.parse(run(ROOT, 'npm', 'pack', '--json', '--silent', '--pack-destination', project))
  run(project, 'tar', '-xzf', packed.filename)
  mkdirSync(join(project, 'node_modules'))
  renameSync(join(project, 'package'), join(project, 'node_modules', 'fastify-mcp-sessions'))
  const peers = Object.keys(manifest.peerDependencies).filter((name) => manifest.peerDependenciesMeta[name]?.optional !== true)
  // zod comes with the SDK.
  for (const name of [...Object.keys(manifest.dependencies), ...peers, 'zod', 'tsx', '@types/node']) link(project, name)
  return { project, files: packed.files.map(({ path }: { path: string }) => path) }
}

const { project, files } = installPacked(t)

const TRY = `
  const app = Fastify()
  await app.register(plugin, { ttl: 1000 })
  app.get('/', async (request) => request.mcpSession)
  const headers = { 'mcp-session-id': app.sessionManager.create() }
  const found = await app.inject({ url: '/', headers })
  await app.close()
  console.log(JSON.stringify({ status: found.statusCode, manager: app.sessionManager instanceof SessionManager, code: new SessionNotFoundError().code }))
`
const WORKS = { status: 200, manager: true, code: 'FST_ERR_MCP_SESSION_NOT_FOUND' }

t.test('has what runs, what types it, and what says so', async (t) => {
  for (const file of ['package.json', 'LICENSE', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'docs/README.md', 'examples/server.ts', 'dist/entry.js', 'dist/index.js', 'dist/index.js.map', 'dist/index.d.ts', 'dist/lib/testing/index.js', 'dist/lib/dashboard/index.js', 'dist/lib/dashboard/index.d.ts', 'dist/lib/dashboard/page/index.html', 'dist/lib/dashboard/page/dashboard.js', 'dist/lib/dashboard/page/dashboard.css', 'dist/lib/plugin/plugin.js', 'dist/lib/plugin/augmentation.d.ts']) {
    t.ok(files.includes(file), file)
  }
  t.strictSame(files.filter((file) => !/^(dist\/.*\.(js|js\.map|d\.ts)|dist\/lib\/dashboard\/page\/(dashboard\.css|index\.html)|docs\/.*\.md|examples\/.*\.(ts|json)|package\.json|LICENSE|README\.md|CHANGELOG\.md|SECURITY\.md)$/.test(file)), [])
})

t.test('has no link that leads to what is not in it', async (t) => {
  for (const from of files.filter((file) => file.endsWith('.md'))) {
    const markdown = readFileSync(join(project, 'node_modules/fastify-mcp-sessions', from), 'utf8')
    const targets = findTargets(markdown).filter((target) => !target.startsWith('/')).map((target) => join(dirname(from), target.split('#')[0] || basename(from)))
    t.strictSame(targets.filter((target) => !files.some((file) => file === target || file.startsWith(`${target}/`))), [], from)
  }
})

t.test('says which version it is, and the changelog has it with its date', async (t) => {
  t.match(readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8'), new RegExp(`^## \\[${manifest.version.replaceAll('.', '\\.')}\\] - 20\\d\\d-\\d\\d-\\d\\d$`, 'm'))
  for (const name of ['homepage', 'repository', 'bugs', 'funding', 'author']) t.match(JSON.stringify(manifest[name]), 'https://github.com/', name)
})

t.test('can be imported', async (t) => {
  writeFileSync(join(project, 'try.mjs'), `
    import Fastify from 'fastify'
    import plugin, { SessionManager, SessionNotFoundError } from 'fastify-mcp-sessions'
    ${TRY}
  `)
  t.strictSame(JSON.parse(run(project, process.execPath, 'try.mjs')), WORKS)
})

t.test('says what telemetry needs where it is not installed', async (t) => {
  writeFileSync(join(project, 'telemetry.mjs'), `
    import Fastify from 'fastify'
    import plugin from 'fastify-mcp-sessions'
    try { await Fastify().register(plugin, { telemetry: true }) } catch ({ message }) { console.log(message) }
  `)
  t.equal(run(project, process.execPath, 'telemetry.mjs').trim(), 'Option "telemetry" needs the package @opentelemetry/api: npm install @opentelemetry/api')
})

t.test('can be required: the whole is the plugin, and has the named exports', async (t) => {
  writeFileSync(join(project, 'try.cjs'), `
    const Fastify = require('fastify')
    const plugin = require('fastify-mcp-sessions')
    const { SessionManager, SessionNotFoundError } = plugin
    if (typeof plugin !== 'function' || plugin.default !== plugin || plugin.mcpSessions !== plugin) throw new Error('It is not the plugin')
    ;(async () => {${TRY}})()
  `)
  t.strictSame(JSON.parse(run(project, process.execPath, 'try.cjs')), WORKS)
})

t.test('has the dashboard, with its page', async (t) => {
  writeFileSync(join(project, 'dashboard.mjs'), `
    import Fastify from 'fastify'
    import plugin from 'fastify-mcp-sessions'
    import dashboard, { sessionsDashboard } from 'fastify-mcp-sessions/dashboard'
    const app = Fastify()
    await app.register(plugin)
    await app.register(dashboard, { prefix: '/sessions', authorize: 'loopback' })
    const answers = await Promise.all(['/', '/dashboard.js', '/connection.js', '/dashboard.css', '/state'].map((path) => app.inject('/sessions' + path)))
    await app.close()
    console.log(JSON.stringify([dashboard === sessionsDashboard, ...answers.map(({ statusCode }) => statusCode)]))
  `)
  t.strictSame(JSON.parse(run(project, process.execPath, 'dashboard.mjs')), [true, 200, 200, 200, 200, 200])
})

t.test('its maps lead back to the sources, which are in them', async (t) => {
  const map = JSON.parse(readFileSync(join(project, 'node_modules/fastify-mcp-sessions/dist/lib/plugin/plugin.js.map'), 'utf8'))
  t.match(map.sourcesContent[0], 'async function mcpSessionsPlugin')
})

t.test('its manifest can be read', async (t) => {
  writeFileSync(join(project, 'manifest.cjs'), "console.log(require('fastify-mcp-sessions/package.json').name)")
  t.equal(run(project, process.execPath, 'manifest.cjs').trim(), 'fastify-mcp-sessions')
})

t.test('has examples that start where the package and an SDK are installed, with nothing else but tsx', async (t) => {
  link(project, '@modelcontextprotocol/sdk')
  const server = start(t, process.execPath, ['--import', 'tsx', 'node_modules/fastify-mcp-sessions/examples/server.ts'], { PORT: '0' }, project)
  await server.says('MCP endpoint')
  server.process.kill('SIGINT')
  t.equal(await server.ended, 0)
  t.equal(server.stderr, '')
})

/** A server of the README, started where the package is installed, on a port of its own. */
async function startReadme (t: Test, block: DocumentBlock | undefined): Promise<{ server: Child, url: URL }> {
  if (block === undefined) throw new Error('The README has no such block')
  writeFileSync(join(project, 'server.mts'), block.code.replace('port: 3000', 'port: 0'))
  const server = start(t, process.execPath, ['--import', 'tsx', 'server.mts'], { JWT_SECRET: 'secret' }, project)
  await server.says('http://')
  return { server, url: new URL('/mcp', /http:\S+/.exec(server.stdout)?.[0]) }
}

const [first, bound] = findBlocks(readReadme())

t.test('runs the first server of the README as it is', async (t) => {
  const { server, url } = await startReadme(t, first)
  const client = await openSession(t, url)
  t.match((await (await client.post(call(2, 'hello'))).end()).text, '"text":"Hello"')
  t.equal(server.stderr, '')
})

t.test('runs the one with authentication, and a session of it answers to its owner alone', async (t) => {
  link(project, '@fastify/jwt')
  const { server, url } = await startReadme(t, bound)
  await server.says('To try it with: ')
  const [ann, bob] = server.stdout.trim().split(' ').slice(-2).map((token) => ({ authorization: `Bearer ${token}` }))
  const client = new HttpClient(t, url)
  t.equal((await client.post(initialize())).status, 401)
  client.headers = { ...ann }
  await client.open()
  t.match((await (await client.post(call(2, 'hello'))).end()).text, '"text":"Hello ann"')
  t.equal((await client.post(call(3, 'hello'), bob)).status, 404)
  t.equal((await client.post(call(4, 'hello'), { authorization: '' })).status, 401)
  t.equal(server.stderr, '')
})

const CONSUMER = `
  import Fastify from 'fastify'
  import mcpSessions, { SessionManager, SessionNotFoundError, type Session } from 'fastify-mcp-sessions'

  declare module 'fastify-mcp-sessions' {
    interface SessionMetadata { cart?: string[] }
  }

  export async function build (): Promise<string[] | undefined> {
    const app = Fastify()
    await app.register(mcpSessions, { ttl: 1_000 })
    app.get('/', { config: { mcpSession: 'required' } }, async (request): Promise<Session | null> => request.mcpSession)
    const sessions: SessionManager = app.sessionManager
    const id: string = sessions.create({ cart: ['tea'] })
    // @ts-expect-error: a cart is a list
    sessions.create({ cart: 1 })
    // @ts-expect-error: there is no such mode
    app.get('/wrong', { config: { mcpSession: 'sometimes' } }, async () => '')
    // @ts-expect-error: a time is a number
    await app.register(mcpSessions, { ttl: '1000' })
    // @ts-expect-error: an error class is not any
    new SessionNotFoundError().nothing()
    return sessions.get(id)?.metadata?.cart
  }
`

// `npm run test:package` tries every resolution, with compilers old and new, and checks the types of all libraries.
t.test('is typed for ES modules and for CommonJS, and so are its examples', async (t) => {
  writeFileSync(join(project, 'package.json'), '{ "private": true }')
  writeFileSync(join(project, 'esm.mts'), CONSUMER)
  writeFileSync(join(project, 'commonjs.cts'), CONSUMER.replace('import mcpSessions,', "import mcpSessions from 'fastify-mcp-sessions'\nimport"))
  for (const name of ['ioredis', '@modelcontextprotocol/server', '@fastify/cors', '@fastify/rate-limit', '@opentelemetry/api', '@opentelemetry/exporter-prometheus', '@opentelemetry/sdk-metrics']) link(project, name)
  const examples = files.filter((file) => file.startsWith('examples/')).map((file) => join('node_modules', 'fastify-mcp-sessions', file))
  const isOurs = (file: string): boolean => !file.includes('/node_modules/') || file.includes('/node_modules/fastify-mcp-sessions/')
  t.ok(examples.length > 5)
  t.strictSame(findTypeErrors(project, ['esm.mts', 'commonjs.cts', ...examples], { module: 'nodenext', skipLibCheck: false }, isOurs), [])
})
