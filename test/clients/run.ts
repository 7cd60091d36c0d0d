// npm run test:clients -- [GROUP ...]
// Installs the clients, those of continuous integration or all, and runs the tests of the groups that are named in clients.ts.
import { spawnSync } from 'node:child_process'
import { CLIENTS } from './clients.js'

/** Their packages are dependencies, those of all others devDependencies. */
const LIGHT = new Set(['sdk', 'ai', 'mcp-remote', 'inspector'])

const groups = process.argv.slice(2)
const unknown = groups.filter((group) => !CLIENTS.some((client) => client.group === group))
if (unknown.length > 0) {
  console.error(`There is no group ${unknown.join(', ')}. There are ${[...new Set(CLIENTS.map(({ group }) => group))].join(', ')}.`)
  process.exit(1)
}

const chosen = groups.length === 0 ? CLIENTS.map(({ group }) => group) : groups
const others = chosen.filter((group) => group !== 'mcp-use')
if (others.length > 0) install('test/clients', others.every((group) => LIGHT.has(group)) ? ['--omit=dev'] : [])
// What it brings along without being asked are a bundler, a runtime, and what its user interfaces are made of.
if (chosen.includes('mcp-use')) install('test/clients/drivers/mcp-use', ['--omit=optional', '--omit=peer', '--ignore-scripts'])
const files = ['clients', ...(groups.length === 0 ? ['old-clients'] : [])].map((name) => `test/clients/${name}.test.ts`)
run('tap', ['--disable-coverage', '--allow-empty-coverage', '--timeout', '900', ...files])

function install (folder: string, options: readonly string[]): void {
  run('npm', ['install', '--prefix', folder, '--no-package-lock', '--no-audit', '--no-fund', '--loglevel', 'error', ...options])
}

function run (command: string, args: readonly string[]): void {
  const { status } = spawnSync(command, args, {
    stdio: 'inherit', shell: process.platform === 'win32', env: { ...process.env, TEST_CLIENTS: groups.join(' ') }
  })
  if (status !== 0) process.exit(status ?? 1)
}
