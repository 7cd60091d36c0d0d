import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { ROOT } from '../processes/child.js'

/** A TypeScript block of the README, or of another document. */
export interface DocumentBlock {
  /** The line of the document that it begins on. */
  readonly line: number
  readonly code: string
  /** What its reader has already: names that stand in `<!-- uses: app, session -->` above the block. */
  readonly uses: readonly string[]
  /** Why it cannot be run by a test: `<!-- not run: it needs a certificate -->` stands above it. */
  readonly notRun: string | undefined
}

export interface Document {
  /** Its path from the root of the repository. */
  readonly path: string
  readonly markdown: string
  readonly blocks: readonly DocumentBlock[]
}

export function readReadme (): string {
  return readDocument('README.md')
}

export function readDocument (path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** All that is written for people: at the top, and below docs. */
export function findDocuments (): Document[] {
  const atTop = readdirSync(ROOT).filter((name) => name.endsWith('.md') && name !== 'CHANGELOG.md')
  const below = readdirSync(join(ROOT, 'docs'), { recursive: true, withFileTypes: true })
    .filter(({ name }) => name.endsWith('.md'))
    .map(({ parentPath, name }) => relative(ROOT, join(parentPath, name)))
  return [...atTop, ...below].map((path) => {
    const markdown = readDocument(path)
    return { path, markdown, blocks: findBlocks(markdown) }
  })
}

export function findBlocks (markdown: string): DocumentBlock[] {
  const found = markdown.matchAll(/^(?:<!-- (.+) -->\n)?```ts\n([^]*?)^```$/gm)
  return Array.from(found, ({ 0: whole, 1: remark = '', 2: code = '', index }) => {
    const line = markdown.slice(0, index + whole.indexOf('```ts')).split('\n').length + 1
    const uses = readRemark(remark, 'uses')?.split(', ') ?? []
    return { line, code, uses, notRun: readRemark(remark, 'not run') }
  })
}

// The package on npm has no source, so its documents link to that with the URL of the repository.
const REPOSITORY = 'https://github.com/fastify-mcp-sessions/fastify-mcp-sessions/blob/main/'

/** The targets of all links but those to other sites, from the root when they begin with a slash. */
export function findTargets (markdown: string): string[] {
  return Array.from(markdown.matchAll(/\]\(([^)\s]+)\)/g), ([, target = '']) => target.replace(REPOSITORY, '/'))
    .filter((target) => !target.startsWith('https://'))
}

// A remark has parts, with a semicolon between them.
function readRemark (remark: string, name: string): string | undefined {
  const part = remark.split('; ').find((part) => part.startsWith(`${name}: `))
  return part?.slice(name.length + 2)
}
