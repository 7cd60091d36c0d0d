import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { cleanEnv } from '../helpers/processes/child.js'
import { killWithThisProcess } from '../helpers/redis/redis-server.js'
import type { SoakSettings, SoakState } from './server.js'

const SERVER = fileURLToPath(new URL('server.ts', import.meta.url))

/** A server of test/soak/server.ts in a process of its own, which ends with this one. */
export class SoakServer {
  readonly name: string
  readonly url: URL
  readonly #child: ChildProcess
  readonly #died: Promise<never>

  private constructor (name: string, child: ChildProcess, died: Promise<never>, url: URL) {
    this.name = name
    this.#child = child
    this.#died = died
    this.url = url
  }

  static async start (name: string, settings: SoakSettings): Promise<SoakServer> {
    const env = cleanEnv({ SOAK: JSON.stringify(settings) })
    const child = fork(SERVER, [], { env, execArgv: ['--conditions=fastify-mcp-sessions/source', '--import', 'tsx', '--expose-gc'] })
    const guard = killWithThisProcess(child)
    const died = once(child, 'exit').then(([code, signal]) => {
      guard.kill('SIGKILL')
      throw new Error(`${name} has died: ${signal ?? code}`)
    })
    died.catch(() => {})
    const [url] = await Promise.race([once(child, 'message'), died])
    return new SoakServer(name, child, died, new URL(url))
  }

  async ask (): Promise<SoakState> {
    this.#child.send('state')
    const [state] = await Promise.race([once(this.#child, 'message'), this.#died])
    return state
  }

  async stop (): Promise<void> {
    if (this.#child.connected) this.#child.send('close')
    await this.#died.catch(() => {})
  }
}
