import { build } from 'esbuild'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { startChromium } from '../../helpers/clients/chromium.js'
import { drive } from './drive.js'

// The client of SDK 2 in a page that comes from another origin than the endpoint.
drive(async (url) => {
  const site = createServer((_request, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><title>Client</title>'))
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
  const { port } = Object(site.address())
  const browser = await startChromium()
  const page = await browser.newPage()
  let heard = (): void => {}
  await page.exposeFunction('heardProgress', () => heard())
  await page.goto(`http://127.0.0.1:${String(port)}/`)
  await page.addScriptTag({ content: await bundle(), type: 'module' })
  await page.waitForFunction('globalThis.mcp !== undefined')
  await page.evaluate(`globalThis.mcp.connect(${JSON.stringify(url)})`)
  return {
    list: () => page.evaluate<string[]>('globalThis.mcp.list()'),
    async call (name, args, onProgress) {
      heard = onProgress
      return page.evaluate<string>(`globalThis.mcp.call(${JSON.stringify(name)}, ${JSON.stringify(args)})`)
    },
    async close () {
      await page.evaluate('globalThis.mcp.close()')
      await browser.close()
      site.close()
    }
  }
})

async function bundle (): Promise<string> {
  const { outputFiles: [file] } = await build({
    entryPoints: [fileURLToPath(new URL('page.ts', import.meta.url))],
    bundle: true,
    format: 'esm',
    platform: 'browser',
    write: false
  })
  return file?.text ?? ''
}
