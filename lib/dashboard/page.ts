import { readdir, readFile } from 'node:fs/promises'

/** A file of the page, as it is served. */
export interface PageFile {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

const FOLDER = new URL('./page/', import.meta.url)
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8' }

// Clients make up what sessions are called. Should any of that get into the page as markup, it can do nothing there.
const POLICY = [
  "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:",
  "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"
].join('; ')

/** The headers of all answers under the prefix. */
export const PROTECTION = {
  'content-security-policy': POLICY,
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin'
}

/** The files of the page, which are kept in memory. */
export async function readPage (): Promise<PageFile[]> {
  const names = await readdir(FOLDER)
  const files = Object.entries(TYPES).flatMap(([ending, type]) => {
    return names.filter((name) => name.endsWith(ending)).map((name) => ({ name, type }))
  })
  return Promise.all(files.map(async ({ name, type }) => ({
    path: name === 'index.html' ? '/' : `/${name}`,
    headers: { 'content-type': type, 'cache-control': 'no-cache' },
    body: await readFile(new URL(name, FOLDER))
  })))
}
