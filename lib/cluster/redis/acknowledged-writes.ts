import { DirectoryUnavailableError, NotAcknowledgedError } from '../directory.js'
import { BoundedCalls } from './bounded-calls.js'
import type { OwnConnection, RedisClient } from './connection.js'
import { withoutArguments } from './redis-error.js'
import { scripts, type ScriptName } from './scripts.js'

/** How many replicas must have a write, and for how many milliseconds it may wait for them. */
export interface ReplicaWait {
  readonly count: number
  readonly timeout: number
}

export interface ScriptCall {
  readonly script: ScriptName
  readonly keys: readonly string[]
  readonly args: ReadonlyArray<string | number>
  /** Called with the reply to a script that Redis has carried out, but that counts as failed. */
  readonly late?: ((reply: unknown) => void) | undefined
}

interface Write extends ScriptCall {
  readonly resolve: (reply: unknown) => void
  readonly reject: (error: unknown) => void
}

interface Outcome {
  readonly reply?: unknown
  readonly error?: Error
}

interface Sent {
  /** One for each write, and one for WAIT at the end. Undefined: the pipeline was not carried out. */
  readonly outcomes: readonly Outcome[] | undefined
  /** Why the writes count as failed: too few replicas have them. */
  readonly shortage: NotAcknowledgedError | undefined
}

/** The writes that wait for one that is under way. */
interface Lane {
  waiting: Write[]
  isBusy: boolean
}

export interface AcknowledgedWritesOptions {
  /** A connection for these writes alone, because WAIT blocks it. */
  connection: OwnConnection
  wait: ReplicaWait
  /** Milliseconds for which Redis may take to answer, besides the time for the replicas. */
  timeout: number
  /** Whether the keys of one pipeline must share a slot. */
  isCluster: boolean
  /** Told when replicas begin to be missing, and with `undefined` when they are back. */
  onShortage: (shortage: NotAcknowledgedError | undefined) => void
}

// How many writes go into one pipeline. The others wait for the next one, because this Redis has other users, too.
const MOST_AT_ONCE = 128

/**
 * Writes that count once so many replicas have them.
 *
 * WAIT speaks of what its own connection has written before to the server that answers it. So it goes through one pipeline
 * with the writes: if the connection breaks half way, ioredis fails the rest of the pipeline, and never sends a WAIT to
 * another server than the writes. Writes that come meanwhile go into the next pipeline together, with one WAIT for all. The
 * scripts are sent as text and not by their hashes, which a server that has just become the master may not know.
 */
export class AcknowledgedWrites {
  readonly #connection: OwnConnection
  readonly #calls: BoundedCalls
  readonly #wait: ReplicaWait
  readonly #isCluster: boolean
  readonly #onShortage: AcknowledgedWritesOptions['onShortage']
  readonly #lanes = new Map<string, Lane>()
  #isShort = false

  constructor ({ connection, wait, timeout, isCluster, onShortage }: AcknowledgedWritesOptions) {
    this.#connection = connection
    this.#calls = new BoundedCalls({
      connection: () => connection.current,
      onSilent: (silent) => connection.replace(silent),
      timeout: timeout + wait.timeout
    })
    this.#wait = wait
    this.#isCluster = isCluster
    this.#onShortage = onShortage
  }

  /** Rejects with a `NotAcknowledgedError` when it was carried out, and too few replicas have it. */
  run (call: ScriptCall): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const name = this.#isCluster ? tagOf(String(call.keys[0])) : ''
      const lane = this.#lanes.get(name) ?? { waiting: [], isBusy: false }
      this.#lanes.set(name, lane)
      lane.waiting.push({ ...call, resolve, reject })
      if (!lane.isBusy) this.#empty(lane)
    })
  }

  close (): void {
    this.#connection.close()
  }

  async #empty (lane: Lane): Promise<void> {
    lane.isBusy = true
    // Writes that come in the same turn go together.
    await undefined
    while (lane.waiting.length > 0) {
      const batch = lane.waiting.splice(0, MOST_AT_ONCE)
      try {
        this.#settle(batch, await this.#calls.call(({ client }) => send(client, batch, this.#wait), (late) => undo(batch, late)))
      } catch (error) {
        // The writes that wait for their turn would only fail in the same way, later.
        for (const { reject } of [...batch, ...lane.waiting.splice(0)]) reject(error)
      }
    }
    lane.isBusy = false
  }

  #settle (batch: readonly Write[], { outcomes, shortage }: Sent): void {
    if (this.#isShort !== (shortage !== undefined)) this.#onShortage(shortage)
    this.#isShort = shortage !== undefined
    for (const [index, { late, resolve, reject }] of batch.entries()) {
      const { error, reply } = { ...outcomes?.[index] }
      if (error !== undefined) {
        reject(new DirectoryUnavailableError('Redis failed', withoutArguments(error)))
      } else if (shortage === undefined) {
        resolve(reply)
      } else {
        late?.(reply)
        reject(new NotAcknowledgedError(shortage.message, { cause: shortage.cause, reply }))
      }
    }
  }
}

async function send (client: RedisClient, batch: readonly Write[], wait: ReplicaWait): Promise<Sent> {
  const outcomes = await exec(client, batch, wait)
  const moved = batch.find((_, index) => outcomes?.[index]?.error?.message.startsWith('MOVED '))
  if (moved === undefined) return toSent(outcomes, wait)
  // The shard has moved to another machine. A pipeline with a WAIT in it does not follow it there. One without does, and with
  // that the client learns where the shard is.
  const pipeline = client.pipeline()
  pipeline.eval(scripts.read.lua, 1, String(moved.keys[0]))
  await pipeline.exec()
  return toSent(await exec(client, batch, wait), wait)
}

async function exec (client: RedisClient, batch: readonly Write[], { count, timeout }: ReplicaWait): Promise<Outcome[] | undefined> {
  const pipeline = client.pipeline()
  for (const { script, keys, args } of batch) pipeline.eval(scripts[script].lua, keys.length, ...keys, ...args)
  pipeline.wait(count, timeout)
  const results = await pipeline.exec()
  return results?.map(([error, reply]) => error === null ? { reply } : { error })
}

function toSent (outcomes: Sent['outcomes'], { count, timeout }: ReplicaWait): Sent {
  const { reply, error } = { ...outcomes?.at(-1) }
  if (error === undefined && Number(reply) >= count) return { outcomes, shortage: undefined }
  const who = error === undefined ? `${Number(reply)} of ${count} replicas have` : 'It is not known which replicas have'
  const cause = error && withoutArguments(error)
  return { outcomes, shortage: new NotAcknowledgedError(`${who} what Redis was told ${timeout} ms ago`, { cause }) }
}

function undo (batch: readonly Write[], { outcomes }: Sent): void {
  for (const [index, { late }] of batch.entries()) {
    const { error, reply } = { ...outcomes?.[index] }
    if (error === undefined) late?.(reply)
  }
}

// The hash tag of a key. A pipeline of Redis Cluster goes to one machine, and all keys of a tag are on one.
function tagOf (key: string): string {
  return key.slice(key.indexOf('{'), key.indexOf('}'))
}
