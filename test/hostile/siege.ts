import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import { cleanEnv } from '../helpers/processes/child.js'
import { createRandom } from '../helpers/chance/random.js'
import { createAttack } from './requests.js'
import type { State } from './server.js'

export interface Verdict {
  readonly statuses: ReadonlyMap<number, number>
  /** Heads of answers that say the fault is ours. */
  readonly failures: readonly string[]
  /** Sessions of which no client was told. */
  readonly unknown: number
  /** Requests and streams that are still counted when all connections are gone. */
  readonly running: number
  /** Bytes of heap that the second half has added to the first. */
  readonly growth: number
  /** Milliseconds that close() has taken. */
  readonly closing: number
}

const SERVER = fileURLToPath(new URL('server.ts', import.meta.url))
const CLIENTS = 16
// How long a client waits for an answer, in milliseconds: streams have no end.
const PATIENCE = 300
const MOST_KNOWN = 400

/** Sends so many hostile requests to a server in a process of its own. */
export async function besiege (requests: number, seed: number, onProgress: (sent: number) => void = () => {}): Promise<Verdict> {
  const child = fork(SERVER, [], { env: cleanEnv(), execArgv: ['--import', 'tsx', '--expose-gc'] })
  const died = once(child, 'exit').then(([code, signal]) => { throw new Error(`The server has died: ${signal ?? code}`) })
  died.catch(() => {})
  const [port] = await Promise.race([once(child, 'message'), died])
  const siege = new Siege(Number(port), seed, onProgress)
  await Promise.race([siege.run(requests / 2), died])
  const between = await Promise.race([ask(child), died])
  await Promise.race([siege.run(requests / 2), died])
  const after = await Promise.race([ask(child), died])
  const began = performance.now()
  child.send('close')
  await once(child, 'exit')
  return {
    statuses: siege.statuses,
    failures: siege.failures,
    unknown: after.unknown,
    running: after.running,
    growth: after.heap - between.heap,
    closing: performance.now() - began
  }
}

// When the server has noticed that all connections are gone, and what they had begun is over.
async function ask (child: ChildProcess): Promise<State> {
  for (let tries = 0; ; tries++) {
    child.send('state')
    const [state]: State[] = await once(child, 'message')
    if (state !== undefined && (state.connections === 0 || tries > 100)) return state
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

class Siege {
  readonly statuses = new Map<number, number>()
  readonly failures: string[] = []
  readonly #known: string[] = []
  readonly #port: number
  readonly #random: ReturnType<typeof createRandom>
  readonly #onProgress: (sent: number) => void
  #sent = 0

  constructor (port: number, seed: number, onProgress: (sent: number) => void) {
    this.#port = port
    this.#random = createRandom(seed)
    this.#onProgress = onProgress
  }

  async run (requests: number): Promise<void> {
    const end = this.#sent + requests
    await Promise.all(Array.from({ length: CLIENTS }, async () => {
      while (this.#sent++ < end) {
        await this.#attack()
        if (this.#sent % 10_000 === 0) this.#onProgress(this.#sent)
      }
    }))
  }

  #attack (): Promise<void> {
    const { pieces, vanishes } = createAttack(this.#random, this.#known)
    return new Promise((resolve) => {
      const socket = connect(this.#port, '127.0.0.1')
      let received = ''
      const timer = setTimeout(() => socket.destroy(), vanishes ? 1 : PATIENCE)
      socket.setEncoding('latin1')
      socket.on('connect', () => { for (const piece of pieces) setImmediate(() => socket.write(piece, 'latin1')) })
      socket.on('data', (chunk) => {
        received += String(chunk)
        // One answer is enough of those that come whole.
        if (/content-length: \d/i.test(received) && pieces.length === 1) socket.end()
      })
      socket.on('error', () => {})
      socket.on('close', () => {
        clearTimeout(timer)
        this.#read(received)
        resolve()
      })
    })
  }

  #read (received: string): void {
    for (const [head = '', status] of received.matchAll(/HTTP\/1\.1 (\d{3})[^\r]*\r\n(?:[^\r]+\r\n)*/g)) {
      const code = Number(status)
      this.statuses.set(code, (this.statuses.get(code) ?? 0) + 1)
      if (code >= 500) this.failures.push(received.slice(0, 600))
      const id = /^mcp-session-id: ([^\r]+)/im.exec(head)?.[1]
      if (id === undefined) continue
      this.#known.push(id)
      if (this.#known.length > MOST_KNOWN) this.#known.shift()
    }
  }
}
