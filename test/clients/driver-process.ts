import { fork, type ChildProcess } from 'node:child_process'
import { on } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { cleanEnv, ROOT } from '../helpers/processes/child.js'
import { newerNode } from '../helpers/processes/newer-node.js'
import type { Order, ProgressReport, Report } from './drivers/drive.js'

// A cold start of the heaviest of them takes seconds, on a busy machine many.
const LIMIT = 60_000
/** The oldest Node.js that all clients run on. */
const OLDEST_NODE = 24

// None of them is to report home.
const QUIET = {
  DO_NOT_TRACK: '1',
  LANGSMITH_TRACING: 'false',
  MASTRA_TELEMETRY_DISABLED: '1',
  MCP_USE_ANONYMIZED_TELEMETRY: 'false',
  OPENAI_AGENTS_DISABLE_TRACING: '1'
}

/** The process that has the client in it. */
export interface DriverProcess {
  /** Waits for what comes of an order; fails after a minute. `onProgress` is called when the client has heard of progress. */
  say (order: Order, onProgress?: () => void): Promise<Report>
}

/** Starts a driver, which does not outlive the test. */
export async function startDriver (t: Test, file: string, url: string, options: readonly string[]): Promise<DriverProcess> {
  const home = t.testdir({})
  const child = fork(fileURLToPath(new URL(`drivers/${file}.ts`, import.meta.url)), [url, ...options], {
    cwd: ROOT,
    execPath: await newerNode(OLDEST_NODE),
    execArgv: ['--import', 'tsx'],
    env: { ...cleanEnv(), ...QUIET, HOME: home, MCP_REMOTE_CONFIG_DIR: home },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc']
  })
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text) => { stderr += String(text) })
  t.teardown(() => child.kill('SIGKILL'))

  async function report (what: string, onProgress = (): void => {}): Promise<Report> {
    const ended = new AbortController()
    const end = (): void => ended.abort()
    child.once('exit', end)
    try {
      return await readReport(child, onProgress, AbortSignal.any([ended.signal, AbortSignal.timeout(LIMIT)]))
    } catch (error) {
      throw new Error(`The driver ${file} has not come to the end of "${what}": ${stderr.slice(0, 2_000)}`, { cause: error })
    } finally {
      child.off('exit', end)
    }
  }

  await report('start')
  return {
    async say (order, onProgress) {
      const said = report(order.kind, onProgress)
      child.send(order)
      return said
    }
  }
}

async function readReport (child: ChildProcess, onProgress: () => void, signal: AbortSignal): Promise<Report> {
  for await (const [message] of on(child, 'message', { signal })) {
    const said: Report | ProgressReport = message
    if (said.kind !== 'progress') return said
    onProgress()
  }
  throw new Error('A driver sends no more messages')
}
