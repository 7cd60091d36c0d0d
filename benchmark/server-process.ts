import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface Usage {
  /** Microseconds of CPU time since the process started. */
  cpu: number
  /** Bytes. */
  heap: number
}

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
// Without a listener, a signal ends this process and no other.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1))

/** A server of `measure/` in a process of its own, which ends with this one. */
export class ServerProcess {
  /** Where its apps listen, in the order in which it has made them. */
  readonly urls: readonly string[]
  readonly #child: ChildProcess
  readonly #ended: Promise<never>

  private constructor (child: ChildProcess, ended: Promise<never>, urls: readonly string[]) {
    this.#child = child
    this.#ended = ended
    this.urls = urls
  }

  static async start (name: string, ...args: string[]): Promise<ServerProcess> {
    const file = fileURLToPath(new URL(`measure/${name}.ts`, import.meta.url))
    const child = fork(file, args, { execArgv: ['--import', 'tsx', '--expose-gc'] })
    running.add(child)
    const ended = once(child, 'exit').then(() => {
      running.delete(child)
      throw new Error(`measure/${name}.ts ${args.join(' ')} has ended`)
    })
    ended.catch(() => {})
    const [{ urls }] = await Promise.race([once(child, 'message'), ended])
    return new ServerProcess(child, ended, urls)
  }

  /** Of the first app. */
  get url (): string {
    return this.urls[0] ?? ''
  }

  async ask (question: 'cpu' | 'heap'): Promise<Usage> {
    const answer = once(this.#child, 'message')
    this.#child.send(question)
    const [usage] = await Promise.race([answer, this.#ended])
    return usage
  }

  /** Resolves when the process has closed what it has open, and has ended. */
  async stop (): Promise<void> {
    this.#child.kill('SIGTERM')
    await this.#ended.catch(() => {})
  }
}

/** Does some work: what comes of it, and the microseconds of CPU time that the servers need for it, all together. */
export async function useCpu<Result> (servers: readonly ServerProcess[], work: () => Promise<Result>): Promise<{ cpu: number, result: Result }> {
  const before = await sumCpu(servers)
  const result = await work()
  return { cpu: await sumCpu(servers) - before, result }
}

async function sumCpu (servers: readonly ServerProcess[]): Promise<number> {
  const usages = await Promise.all(servers.map((server) => server.ask('cpu')))
  return usages.reduce((sum, { cpu }) => sum + cpu, 0)
}
