import axe, { type AxeResults, type RunOptions } from 'axe-core'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import type { Test } from 'tap'
import type { Skip } from '../redis/redis-server.js'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome']
const PLACES = ['/Applications/Chromium.app/Contents/MacOS/Chromium', '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome']
const HELP = 'Chromium is not installed: apt-get install chromium, or brew install --cask chromium'

const executable = findExecutable()

function findExecutable (): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  return [...NAMES.flatMap((name) => folders.map((folder) => join(folder, name))), ...PLACES].find(isExecutable)
}

function isExecutable (path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/**
 * Options for tap: tests that need a browser are skipped where there is none, and say so.
 * On CI a missing browser is a failure.
 */
export function needsChromium (): Skip {
  const missing = executable === undefined && process.env['CI'] !== 'true'
  return { skip: missing && HELP }
}

/** A headless browser, closed when the test is over. */
export async function launchChromium (t: Test): Promise<Browser> {
  const browser = await startChromium()
  t.teardown(() => browser.close())
  return browser
}

/** A headless browser, which the caller closes. */
export async function startChromium (): Promise<Browser> {
  if (executable === undefined) throw new Error(HELP)
  return chromium.launch({ executablePath: executable })
}

export interface Opened {
  readonly page: Page
  /** Scripts that failed or were blocked, dialogs that opened, requests that went wrong. */
  readonly troubles: string[]
}

/** A page of a context of its own, closed when the test is over. */
export async function openPage (t: Test, browser: Browser, options: BrowserContextOptions = {}): Promise<Opened> {
  const context = await browser.newContext(options)
  t.teardown(() => context.close())
  context.setDefaultTimeout(10_000)
  const page = await context.newPage()
  const troubles: string[] = []
  page.on('console', (message) => { if (message.type() === 'error') troubles.push(message.text()) })
  page.on('pageerror', (error) => { troubles.push(error.message) })
  page.on('dialog', (dialog) => {
    troubles.push(`${dialog.type()}: ${dialog.message()}`)
    dialog.dismiss().catch(() => {})
  })
  return { page, troubles }
}

/**
 * Problems of accessibility that axe-core finds: one line for each place.
 *
 * @param rules left out: all
 */
export async function findBarriers (page: Page, rules?: string[]): Promise<string[]> {
  // Injected on demand, because axe-core is half a megabyte.
  if (!await page.evaluate<boolean>('"axe" in window')) await page.evaluate(axe.source)
  const options: RunOptions = { resultTypes: ['violations'], ...(rules !== undefined && { runOnly: rules }) }
  const { violations } = await page.evaluate<AxeResults>(`axe.run(document, ${JSON.stringify(options)})`)
  return violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id} at ${String(target)}: ${failureSummary}`))
}
