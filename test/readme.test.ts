// What the documents say can be followed: every TypeScript block of README and docs compiles, every link leads to a file.
import t from 'tap'
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { ROOT } from './helpers/child.js'
import { findBlocks, readDocument, type ReadmeBlock } from './helpers/readme.js'
import { findTypeErrors } from './helpers/type-errors.js'

// The compiler takes its time on a small machine.
t.setTimeout(180_000)

// What `<!-- uses: app -->` above a block stands for. A block without it is a whole file.
const GIVEN: { readonly [name: string]: string } = {
  app: "declare const app: import('fastify').FastifyInstance",
  buildModernServer: "declare function buildModernServer (): import('@modelcontextprotocol/server').McpServer",
  buildServer: "declare function buildServer (): import('@modelcontextprotocol/sdk/server/mcp.js').McpServer",
  createServer: "declare const createServer: import('fastify-mcp-sessions').CreateServer",
  mcpSessions: "declare const mcpSessions: typeof import('fastify-mcp-sessions').default",
  server: "declare const server: import('@modelcontextprotocol/sdk/server/mcp.js').McpServer",
  session: "declare const session: import('fastify-mcp-sessions').Session"
}

/** Writes the block to a file, on the lines that it has in its document: there is what the compiler complains of. */
function write (project: string, document: string, { line, code, uses }: ReadmeBlock): string {
  const given = uses.map((name) => {
    const declaration = GIVEN[name]
    if (declaration === undefined) throw new Error(`${document}, line ${line}: nothing says what ${name} is`)
    return declaration
  })
  const file = `${basename(document, '.md')}.${line}.mts`
  writeFileSync(join(project, file), `export {}; ${given.join('; ')}${'\n'.repeat(line - 1)}${code}`)
  return file
}

const documents = ['README.md', 'docs/observing.md'].map((name) => ({ name, markdown: readDocument(name), blocks: findBlocks(readDocument(name)) }))
const project = mkdtempSync(join(tmpdir(), 'fastify-mcp-sessions-'))
t.teardown(() => rmSync(project, { recursive: true }))
symlinkSync(join(ROOT, 'node_modules'), join(project, 'node_modules'))
const files = documents.flatMap(({ name, blocks }) => blocks.map((block) => write(project, name, block)))

function check (module: string, moduleResolution: string): string[] {
  const paths = { 'fastify-mcp-sessions': [join(ROOT, 'index.ts')], 'fastify-mcp-sessions/testing': [join(ROOT, 'lib/testing/index.ts')] }
  return findTypeErrors(project, files, { module, moduleResolution, skipLibCheck: true, paths }, (file) => files.includes(basename(file)))
}

t.test('all blocks are found', async (t) => {
  for (const { markdown, blocks } of documents) t.equal(blocks.length, markdown.split('```ts').length - 1)
})

t.test('they compile as in a project for Node.js', async (t) => {
  t.strictSame(check('nodenext', 'nodenext'), [])
})

t.test('they compile as in a project for a bundler', async (t) => {
  t.strictSame(check('preserve', 'bundler'), [])
})

for (const name of ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'docs/observing.md']) {
  t.test(`the links of ${name} lead to what is there`, async (t) => {
    const text = readFileSync(join(ROOT, name), 'utf8')
    const headings = new Set(Array.from(text.matchAll(/^#+ (.+)$/gm), ([, heading = '']) => toAnchor(heading)))
    const targets = Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, target = '']) => target).filter((target) => !target.startsWith('https://'))
    t.strictSame(targets.filter((target) => target.startsWith('#') ? !headings.has(target.slice(1)) : !existsSync(join(ROOT, dirname(name), target))), [])
  })
}

// As GitHub makes them.
function toAnchor (heading: string): string {
  return heading.toLowerCase().replace(/[^\w\s-]/g, '').replaceAll(' ', '-')
}
