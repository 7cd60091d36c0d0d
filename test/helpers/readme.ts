import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './child.js'

/** A TypeScript block of the README, or of another document. */
export interface ReadmeBlock {
  /** The line of the document that it begins on. */
  readonly line: number
  readonly code: string
  /** What its reader has already: `<!-- uses: app, session -->` stands above the block. */
  readonly uses: readonly string[]
}

export function readReadme (): string {
  return readDocument('README.md')
}

export function readDocument (path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

export function findBlocks (markdown: string): ReadmeBlock[] {
  const found = markdown.matchAll(/^(?:<!-- uses: (.+) -->\n)?```ts\n([^]*?)^```$/gm)
  return Array.from(found, ({ 0: whole, 1: uses = '', 2: code = '', index }) => {
    const line = markdown.slice(0, index + whole.indexOf('```ts')).split('\n').length + 1
    return { line, code, uses: uses.split(', ').filter(Boolean) }
  })
}
