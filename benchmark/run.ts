// The benchmarks, one after the other: all of them, or those whose names are arguments.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { choose, flags } from './settings.js'

const scripts = { sessions: 'sessions.ts', plugin: 'plugin.ts', endpoint: 'endpoint.ts', cluster: 'cluster.ts', dashboard: 'dashboard.ts' }

for (const script of choose(scripts)) {
  console.log(`\n## ${script}\n`)
  const file = fileURLToPath(new URL(script, import.meta.url))
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', file, ...flags], { stdio: 'inherit' })
  // One that cannot run, such as that of the cluster without a redis-server, is no reason to skip the others.
  if (status !== 0) process.exitCode = 1
}
