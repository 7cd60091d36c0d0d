import { build } from 'esbuild'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
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
  await page.goto(`http://127.0.0.1:${String(port)}/`)
  await page.addScriptTag({ content: await bundle(), type: 'module' })
  await page.waitForFunction('globalThis.mcp !== undefined')
  await run(page, `connect(${JSON.stringify(url)})`)
  return {
    list: async () => (await run(page, 'list()')).text.split(','),
    async call (name, args, onProgress) {
      const { text, progress } = await run(page, `call(${JSON.stringify(name)}, ${JSON.stringify(args)})`)
      if (progress > 0) onProgress()
      return text
    },
    async close () {
      await run(page, 'close()')
      await browser.close()
      site.close()
    }
  }
})

async function run (page: Page, code: string): Promise<{ text: string, progress: number }> {
  return page.evaluate<{ text: string, progress: number }>(`globalThis.mcp.${code}`)
}

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
