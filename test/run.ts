// Runs tap. What covers the code for Redis is skipped where there is none, so only then may lines be left.
import { spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { needsRedisServer } from './helpers/redis/redis-server.js'

function run (...args: string[]): number {
  return spawnSync('tap', args, { stdio: 'inherit', shell: process.platform === 'win32' }).status ?? 1
}

const { skip } = needsRedisServer()
if (skip !== false) console.log(`The tests of the cluster are skipped, and coverage is not asked for: ${skip}`)
// By itself tap makes what goes with the plugins of package.json, and has it in the next run only.
run('build')
// Thousands of lines that say ok hide the one that does not.
const reporter = process.env['CI'] === 'true' ? ['--reporter=terse'] : []
// Most of the slow tests wait for something: one core less, as tap has it, would leave a small machine idle, and so would one file for each.
process.exitCode = run(`--jobs=${Math.max(2, availableParallelism()) + 1}`, ...reporter, ...(skip === false ? [] : ['--allow-incomplete-coverage']), ...process.argv.slice(2))
