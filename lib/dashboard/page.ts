import { readFile } from 'node:fs/promises'

/** A file of the page, as it is served. */
export interface PageFile {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

const FILES = [
  { path: '/', file: 'index.html', type: 'text/html; charset=utf-8' },
  { path: '/dashboard.js', file: 'dashboard.js', type: 'text/javascript; charset=utf-8' },
  { path: '/dashboard.css', file: 'dashboard.css', type: 'text/css; charset=utf-8' }
]

// What sessions say of themselves is made up by clients: whatever gets into the page as markup can do nothing there.
const POLICY = [
  "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:",
  "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"
].join('; ')

/** For everything under the prefix. */
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
  return Promise.all(FILES.map(async ({ path, file, type }) => ({
    path,
    headers: { 'content-type': type, 'cache-control': 'no-cache' },
    body: await readFile(new URL(`./page/${file}`, import.meta.url))
  })))
}
