// What the documents say can be followed: every TypeScript block compiles and, where it can, runs; every link leads to
// what is there; and the page of errors has those that there are.
import t from 'tap'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { errorRows } from '../lib/base/errors.js'
import { warningCodes } from '../lib/http/warnings.js'
import { cleanEnv, ROOT } from './helpers/processes/child.js'
import { findDocuments, findTargets, readDocument, type DocumentBlock } from './helpers/docs/documents.js'
import { findTypeErrors } from './helpers/docs/type-errors.js'

// The compiler takes its time on a small machine.
t.setTimeout(180_000)

const documents = findDocuments()
const project = realpathSync(mkdtempSync(join(tmpdir(), 'fastify-mcp-sessions-')))
t.teardown(() => rmSync(project, { recursive: true }))
installAll()
const blocks = documents.flatMap(({ path, blocks }) => blocks.map((block) => ({ ...block, path, file: write(path, block) })))

/** A project with all that is installed here, and the package itself. */
function installAll (): void {
  const installed = join(project, 'node_modules')
  mkdirSync(installed)
  for (const name of readdirSync(join(ROOT, 'node_modules'))) symlinkSync(join(ROOT, 'node_modules', name), join(installed, name))
  symlinkSync(ROOT, join(installed, 'fastify-mcp-sessions'))
}

/** Writes the block to a file, on the lines that it has in its document: there is what the compiler complains of. */
function write (path: string, { line, code, uses }: DocumentBlock): string {
  const names = uses.map((use) => use.split(' ').at(-1))
  const given = `import { give } from '${join(ROOT, 'test/helpers/docs/given.js')}'; const { ${names.join(', ')} } = await give(${uses.map((use) => `'${use}'`).join(', ')})`
  const file = `${path.replace(/\.md$/, '').replaceAll('/', '.')}.${line}.mts`
  // No port of this machine is taken, and none has to be free.
  const source = code.replaceAll('port: 3000', 'port: 0')
  writeFileSync(join(project, file), `${uses.length > 0 ? given : 'export {}'}${'\n'.repeat(line - 1)}${source}`)
  return file
}

function check (module: string, moduleResolution: string): string[] {
  const files = blocks.map(({ file }) => file)
  const options = { module, moduleResolution, skipLibCheck: true, customConditions: ['fastify-mcp-sessions/source'] }
  return findTypeErrors(project, files, options, (file) => files.includes(basename(file)))
}

t.test('all blocks are found', async (t) => {
  for (const { path, markdown, blocks } of documents) t.equal(blocks.length, markdown.split('```ts').length - 1, path)
})

t.test('they compile as in a project for Node.js', async (t) => {
  t.strictSame(check('nodenext', 'nodenext'), [])
})

t.test('they compile as in a project for a bundler', async (t) => {
  t.strictSame(check('preserve', 'bundler'), [])
})

t.test('they run, and the apps that they make boot and close', async (t) => {
  const files = blocks.filter(({ notRun }) => notRun === undefined).map(({ file }) => join(project, file))
  const child = fork(join(ROOT, 'test/fixtures/run-blocks.ts'), files, {
    cwd: project,
    env: cleanEnv({ JWT_SECRET: 'secret' }),
    execArgv: ['--conditions=fastify-mcp-sessions/source', '--import', 'tsx'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc']
  })
  t.teardown(() => child.kill('SIGKILL'))
  const [failures] = await Promise.race([once(child, 'message'), once(child, 'exit')])
  t.strictSame(failures, {})
})

for (const { path, markdown } of documents) {
  t.test(`the links of ${path} lead to what is there`, async (t) => {
    t.strictSame(findTargets(markdown).filter((target) => !isThere(path, target)), [])
  })
}

t.test('every page of docs is reached from its index', async (t) => {
  const index = findTargets(readDocument('docs/README.md')).map((target) => join('docs', target))
  const pages = documents.map(({ path }) => path).filter((path) => /^docs\/(?!README)[^/]+$/.test(path))
  t.strictSame(pages.filter((path) => !index.includes(path)), [])
})

t.test('the page of errors has each error of the table, with its status and its JSON-RPC code', async (t) => {
  const sections = readDocument('docs/errors.md').split(/^(?=### )/m).slice(1)
  const described = sections.map((section) => {
    const [, code = '', status, rpcCode, retryAfter] = /^### (\w+)\n\n(\d+)(?:, JSON-RPC (-\d+))?(?:, `Retry-After: (\d+)`)?\. /.exec(section) ?? []
    return { code, status: Number(status), rpcCode: rpcCode === undefined ? undefined : Number(rpcCode), retryAfter: retryAfter === undefined ? undefined : Number(retryAfter) }
  })
  t.strictSame(described.map(({ code }) => code).toSorted(), errorRows().map(({ code }) => code).toSorted())
  for (const { code, status, rpcCode, retryAfter } of errorRows()) {
    const found = described.find((error) => error.code === code)
    // Only callers see a JSON-RPC code; what is thrown at boot has none.
    t.strictSame(found, { code, status, rpcCode: found?.rpcCode === undefined && status === 500 ? undefined : rpcCode, retryAfter }, code)
  }
  for (const section of sections) for (const word of ['**Cause:**', '**Cure:**']) t.ok(section.includes(word), `${section.slice(0, 60)} ${word}`)
})

t.test('each warning is told of', async (t) => {
  for (const code of warningCodes) t.match(readDocument('docs/troubleshooting.md'), `| \`${code}\` |`)
})

t.test('each invariant of the architecture has its test', async (t) => {
  const [, section = ''] = /^## What must always hold.*?$(.*?)^## /ms.exec(readDocument('ARCHITECTURE.md')) ?? []
  const tests = Array.from(section.matchAll(/^\|.*\| \[(.+)\]\((test\/\S+\.ts)\) \|$/gm), ([, title = '', path = '']) => ({ title, path }))
  t.ok(tests.length > 5)
  for (const { title, path } of tests) t.ok(readDocument(path).includes(`t.test('${title}'`), title)
})

function isThere (from: string, target: string): boolean {
  const [file = '', anchor] = target.split('#')
  const path = file === '' ? from : join(file.startsWith('/') ? '' : dirname(from), file)
  if (!existsSync(join(ROOT, path))) return false
  if (anchor === undefined) return true
  return Array.from(readDocument(path).matchAll(/^#+ (.+)$/gm), ([, heading = '']) => toAnchor(heading)).includes(anchor)
}

// As GitHub makes them.
function toAnchor (heading: string): string {
  return heading.toLowerCase().replace(/[^\w\s-]/g, '').replaceAll(' ', '-')
}
