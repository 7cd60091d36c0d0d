import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { drive, readText } from './drive.js'

const LAUNCHER = fileURLToPath(new URL('../node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js', import.meta.url))
const run = promisify(execFile)

// Each command connects, does one thing and goes.
drive(async (url) => {
  async function inspect (...args: string[]): Promise<unknown> {
    const { stdout } = await run(process.execPath, [LAUNCHER, '--cli', url, '--transport', 'http', ...args], { timeout: 20_000 })
    return JSON.parse(stdout)
  }

  async function list (): Promise<string[]> {
    const { tools } = Object(await inspect('--method', 'tools/list'))
    return Array.from<{ name: string }>(tools).map(({ name }) => name)
  }

  return {
    list,
    async call (name, args) {
      const pairs = Object.entries(args).flatMap(([key, value]) => ['--tool-arg', `${key}=${String(value)}`])
      return readText(await inspect('--method', 'tools/call', '--tool-name', name, ...pairs))
    },
    async close () {}
  }
})
