import type { Test } from 'tap'
import { spawn, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

// tap and Node.js hand their coverage down to every child that does not refuse it. For a child that compiles TypeScript in its
// own way the result is wrong: every line of ours would count as run.
const NOT_COVERED = { NODE_OPTIONS: '', NODE_V8_COVERAGE: '', _TAPJS_PROCESSINFO_COVERAGE_: '0' }

/** The environment of a user's shell: without what npm sets, and with coverage of the test runner turned off. */
export function cleanEnv (extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {}
  for (const [name, value] of Object.entries(process.env)) {
    if (!/^(_?TAP|npm_)/i.test(name)) env[name] = value
  }
  const path = [join(ROOT, 'node_modules', '.bin'), dirname(process.execPath), process.env['PATH']].join(delimiter)
  return { ...env, ...NOT_COVERED, PATH: path, ...extra }
}

/** The command of a script of package.json, and its arguments. */
export function readScript (name: string): [command: string, args: string[]] {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const [command, ...args] = scripts[name].split(' ')
  return [command, args]
}

/** A process that a test starts, and everything that it says. */
export class Child {
  readonly process: ChildProcess
  stdout = ''
  stderr = ''
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals | null>

  constructor (command: string, args: readonly string[], env: NodeJS.ProcessEnv, cwd = ROOT) {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    child.stdout.setEncoding('utf8').on('data', (text) => { this.stdout += String(text) })
    child.stderr.setEncoding('utf8').on('data', (text) => { this.stderr += String(text) })
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => resolve(code ?? signal))
    })
    this.process = child
  }

  /** Waits until the text has come; fails when the process ends without it. */
  async says (text: string): Promise<void> {
    const { stdout } = this.process
    await new Promise<void>((resolve, reject) => {
      const check = (): void => { if (this.stdout.includes(text)) resolve() }
      stdout?.on('data', check)
      this.ended.then(() => reject(new Error(`The process has ended: ${this.stdout}${this.stderr}`)), reject)
      check()
    })
  }
}

/** Starts a process that does not outlive the test. */
export function start (t: Test, command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd = ROOT): Child {
  const child = new Child(command, args, cleanEnv(env), cwd)
  t.teardown(() => child.process.kill('SIGKILL'))
  return child
}
