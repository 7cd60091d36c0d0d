// Runs tap. What covers the code for Redis is skipped where there is none, so only then may lines be left.
import { spawnSync } from 'node:child_process'
import { needsRedisServer } from './helpers/redis-server.js'

const { skip } = needsRedisServer()
if (skip !== false) console.log(`The tests of the cluster are skipped, and coverage is not asked for: ${skip}`)
const { status } = spawnSync('tap', [...(skip === false ? [] : ['--allow-incomplete-coverage']), ...process.argv.slice(2)], {
  stdio: 'inherit', shell: process.platform === 'win32'
})
process.exitCode = status ?? 1
