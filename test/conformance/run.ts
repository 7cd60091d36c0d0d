// npm run conformance -- [--fixture 'SDK 2'] [--mode auto]
// Runs the official conformance suite against the fixture of each SDK, in each response mode and
// once per protocol revision, and fails on anything that `expected-failures.ts` does not
// list, as well as on anything in that list that has begun to pass.

import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs, promisify } from 'node:util'

import { newerNode } from '../helpers/processes/newer-node.js'
import { EXPECTED_FAILURES } from './expected-failures.js'
import type { ExpectedFailure } from './expected-failures.js'
import { FIXTURES, MODES, serveConformance } from './serve.js'
import { judge } from './verdict.js'
import type { Check } from './verdict.js'

// How many scenarios the suite has for each revision. A new version of the
// suite changes them, and somebody should look at what has come or gone.
const REVISIONS = new Map([['2025-03-26', 1], ['2025-06-18', 27], ['2025-11-25', 33], ['2026-07-28', 40]])

const SUITE = createRequire(import.meta.url).resolve('@modelcontextprotocol/conformance/package.json')
const TIMEOUT = 120_000
const run = promisify(execFile)

interface SuiteRun {
  scenarios: Map<string, Check[]>
  /** What the suite had to complain about, a scenario that broke down for one. */
  stderr: string
}

async function runSuite (node: string, url: string, revision: string, signal: AbortSignal): Promise<SuiteRun> {
  const output = await mkdtemp(join(tmpdir(), 'mcp-conformance-'))
  try {
    const args = ['server', '--url', url, '--suite', 'all', '--spec-version', revision, '--output-dir', output]
    const { stderr } = await run(node, [join(dirname(SUITE), 'dist/index.js'), ...args], { signal, timeout: TIMEOUT, maxBuffer: Infinity })
      .catch((error) => {
        // The suite exits with 1 when a check fails, and its results say which.
        if (error.code !== 1) throw error
        return { stderr: String(error.stderr) }
      })
    const scenarios = new Map<string, Check[]>()
    for (const directory of await readdir(output)) {
      const name = directory.replace(/^server-/, '').replace(/-\d{4}-\d\d-\d\dT.*$/, '')
      scenarios.set(name, JSON.parse(await readFile(join(output, directory, 'checks.json'), 'utf8')))
    }
    return { scenarios, stderr }
  } finally {
    await rm(output, { recursive: true })
  }
}

function report (fixture: string, mode: string, revision: string, { scenarios, stderr }: SuiteRun, excused: Set<ExpectedFailure>): number {
  let failed = 0
  for (const [scenario, checks] of scenarios) {
    const verdict = judge(mode, revision, scenario, checks, expectedOf(fixture))
    const outcome = verdict.failures.length > 0 ? 'FAIL' : verdict.excused.length > 0 ? 'excused' : 'ok'
    console.log(`${outcome.padEnd(8)}${fixture}  ${mode}  ${revision}  ${scenario} (${verdict.passed} checks passed)`)
    for (const failure of verdict.failures) console.log(`          ${failure}`)
    for (const excuse of verdict.excused) {
      excused.add(excuse)
      console.log(`          ${excuse.check}: ${excuse.reason}`)
    }
    if (verdict.failures.length > 0) failed++
  }
  const expected = REVISIONS.get(revision)
  if (scenarios.size !== expected) {
    console.log(`FAIL    ${fixture}  ${mode}  ${revision}  ${scenarios.size} scenarios left a result, ${expected} should have\n${stderr}`)
    failed++
  }
  return failed
}

function expectedOf (fixture: string): ExpectedFailure[] {
  return EXPECTED_FAILURES.filter((entry) => entry.fixture === undefined || entry.fixture === fixture)
}

async function main (fixtures: readonly string[], modes: readonly string[], signal: AbortSignal): Promise<void> {
  let failed = 0
  let total = 0
  const node = await newerNode(22, signal)
  for (const fixture of fixtures) {
    const excused = new Set<ExpectedFailure>()
    for (const mode of modes) {
      const server = await serveConformance(fixture, mode)
      try {
        for (const revision of REVISIONS.keys()) {
          const suite = await runSuite(node, server.url, revision, signal)
          total += suite.scenarios.size
          failed += report(fixture, mode, revision, suite, excused)
        }
      } finally {
        await server.close()
      }
    }
    for (const { mode, revision, scenario, check } of expectedOf(fixture).filter((entry) => modes.includes(entry.mode) && !excused.has(entry))) {
      console.log(`FAIL    ${fixture}  ${mode}  ${revision}  ${scenario}: ${check} passes and is no longer to be expected to fail`)
      failed++
    }
  }
  console.log(`\n${total} scenarios run with ${fixtures.join(' and ')} in ${modes.length} mode(s), ${failed} failed`)
  if (failed > 0) process.exitCode = 1
}

function choose (what: string, all: ReadonlyMap<string, unknown>, wanted: string | undefined): string[] {
  if (wanted === undefined) return [...all.keys()]
  if (!all.has(wanted)) throw new Error(`There is no ${what} ${wanted}, but ${[...all.keys()].join('; ')}`)
  return [wanted]
}

const { values } = parseArgs({ options: { fixture: { type: 'string' }, mode: { type: 'string' } } })
const stop = new AbortController()
for (const name of ['SIGINT', 'SIGTERM']) process.once(name, () => stop.abort())
await main(choose('fixture', FIXTURES, values.fixture), choose('mode', MODES, values.mode), stop.signal)
