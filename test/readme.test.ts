// What the documents say can be followed: every TypeScript block of the README compiles, every link leads to a file.
import t from 'tap'
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { ROOT } from './helpers/child.js'
import { findBlocks, readReadme, type ReadmeBlock } from './helpers/readme.js'
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

/** Writes the block to a file, on the lines that it has in the README: there is what the compiler complains of. */
function write (project: string, { line, code, uses }: ReadmeBlock): string {
  const given = uses.map((name) => {
    const declaration = GIVEN[name]
    if (declaration === undefined) throw new Error(`README.md, line ${line}: nothing says what ${name} is`)
    return declaration
  })
  const file = `README.${line}.mts`
  writeFileSync(join(project, file), `export {}; ${given.join('; ')}${'\n'.repeat(line - 1)}${code}`)
  return file
}

const markdown = readReadme()
const blocks = findBlocks(markdown)
const project = mkdtempSync(join(tmpdir(), 'fastify-mcp-sessions-'))
t.teardown(() => rmSync(project, { recursive: true }))
symlinkSync(join(ROOT, 'node_modules'), join(project, 'node_modules'))
const files = blocks.map((block) => write(project, block))

function check (module: string, moduleResolution: string): string[] {
  const paths = { 'fastify-mcp-sessions': [join(ROOT, 'index.ts')] }
  return findTypeErrors(project, files, { module, moduleResolution, skipLibCheck: true, paths }, (file) => files.includes(basename(file)))
}

t.test('all blocks are found', async (t) => {
  t.equal(blocks.length, markdown.split('```ts').length - 1)
})

t.test('they compile as in a project for Node.js', async (t) => {
  t.strictSame(check('nodenext', 'nodenext'), [])
})

t.test('they compile as in a project for a bundler', async (t) => {
  t.strictSame(check('preserve', 'bundler'), [])
})

for (const name of ['README.md', 'ARCHITECTURE.md']) {
  t.test(`the links of ${name} lead to what is there`, async (t) => {
    const text = readFileSync(join(ROOT, name), 'utf8')
    const headings = new Set(Array.from(text.matchAll(/^#+ (.+)$/gm), ([, heading = '']) => toAnchor(heading)))
    const targets = Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, target = '']) => target).filter((target) => !target.startsWith('https://'))
    t.not(targets.length, 0)
    t.strictSame(targets.filter((target) => target.startsWith('#') ? !headings.has(target.slice(1)) : !existsSync(join(ROOT, target))), [])
  })
}

// As GitHub makes them.
function toAnchor (heading: string): string {
  return heading.toLowerCase().replace(/[^\w\s-]/g, '').replaceAll(' ', '-')
}
