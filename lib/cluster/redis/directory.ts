import { randomBytes } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import {
  NotAcknowledgedError, remainingLife, type Changes, type Claimable, type Copy, type Directory, type History, type JsonObject,
  type KnownLoad, type Liveness, type Located, type NewSession, type NodeLoad, type Peer, type StoredSession
} from '../directory.js'
import { asError } from '../../base/safe-call.js'
import { RedisCommands, type RedisCommandsOptions } from './commands.js'
import { joinHistories } from './joined-history.js'
import { parseObject, stringify, toFields, toRecord } from './record.js'
import { SharedRounds } from './shared-rounds.js'

const MAILBOX_SIZE = 1024
const TOUCH_BATCH = 128
// How many records that cannot be read are remembered, so that each is told once.
const MOST_REMEMBERED = 1000

export interface RedisDirectoryOptions extends RedisCommandsOptions {
  /** Idle milliseconds after which a session is gone; `0`: never. */
  ttl: number
  /** Called once for each record that cannot be read: nobody can serve the session. */
  onUnreadable?: ((error: Error, key: string) => void) | undefined
}

interface ReadOptions {
  /** Whether an id is that of the session to which the key belongs. */
  readonly isOwn: (id: string) => boolean
  readonly onUnreadable?: (() => void) | undefined
}

/** The directory on Redis 7 or Valkey, alone or as Redis Cluster. */
export class RedisDirectory implements Directory {
  readonly ttl: number
  readonly isInParts: boolean
  /** Public for what else is kept of a session, such as its events. */
  readonly commands: RedisCommands
  // Only on Redis Cluster. Thousands may ask at once, and each round goes through all shards.
  readonly #allHistories: SharedRounds<History> | undefined
  readonly #onUnreadable: NonNullable<RedisDirectoryOptions['onUnreadable']>
  // The keys of records that cannot be read and were told.
  readonly #unreadable = new Set<string>()
  readonly #peers = new Map<string, { peer: Peer, until: number }>()

  constructor (options: RedisDirectoryOptions) {
    this.ttl = options.ttl
    this.#onUnreadable = options.onUnreadable ?? (() => {})
    this.commands = new RedisCommands(options)
    this.isInParts = this.commands.isCluster
    if (this.isInParts) this.#allHistories = new SharedRounds(() => this.#askAll())
  }

  async create (session: NewSession): Promise<string | undefined> {
    const { id, owner, createdAt, lastAccessedAt } = session
    const reply = await this.commands.write('create', this.commands.sessionKeys(id),
      [this.#life(lastAccessedAt), random(), owner, createdAt, ...toFields(session)],
      late => { if (late != null) this.#undoCreate(id, String(late)) })
    return reply == null ? undefined : String(reply)
  }

  async get (id: string): Promise<Located | undefined> {
    const record = this.#read(id, await this.commands.run('read', this.commands.sessionKeys(id), []))
    if (record === undefined) return
    return { record, owner: record.owner === undefined ? undefined : await this.#knownPeer(record.owner) }
  }

  async claim ({ id, epoch, owner }: Claimable, node: string, lastAccessedAt: number): Promise<StoredSession | undefined> {
    // A claim that came too late is undone: its caller was told that it has failed, and does not serve the session.
    return this.#read(id, await this.commands.write('claim', this.commands.sessionKeys(id),
      [epoch, owner ?? '', node, lastAccessedAt, this.#life(lastAccessedAt), random()],
      late => {
        const record = this.#read(id, late)
        if (record !== undefined) ignoreFailure(this.release([{ ...record, from: epoch }]))
      }))
  }

  // Without undoing what came too late: a node that has not got the answer recovers the session again.
  async recover (session: NewSession, { epoch, isCertain, mustExist }: Copy): Promise<string | undefined> {
    const { id, owner, lastAccessedAt } = session
    const reply = await this.commands.write('recover', this.commands.sessionKeys(id),
      [epoch, owner, Number(isCertain), Number(mustExist), this.#life(lastAccessedAt), random(), ...toFields(session)])
    return reply == null ? undefined : String(reply)
  }

  touch (sessions: readonly Liveness[]): Promise<string[]> {
    return this.#touch('touch', sessions)
  }

  async update (id: string, epoch: string, changes: Changes): Promise<boolean> {
    const args: string[] = []
    for (const field of ['metadata', 'state'] as const) {
      if (Object.hasOwn(changes, field)) args.push(field, stringify(changes[field]))
    }
    const reply = await this.commands.write('update', this.commands.sessionKeys(id), [epoch, ...args])
    return Number(reply) === 1
  }

  release (sessions: readonly Liveness[]): Promise<string[]> {
    return this.#touch('release', sessions)
  }

  async remove (id: string, epoch?: string): Promise<StoredSession | undefined> {
    try {
      return this.#read(id, await this.commands.write('remove', this.commands.sessionKeys(id), [epoch ?? '']))
    } catch (error) {
      if (error instanceof NotAcknowledgedError) error.removed = this.#read(id, error.reply)
      throw error
    }
  }

  #undoCreate (id: string, epoch: string): void {
    ignoreFailure(this.commands.run('remove', this.commands.sessionKeys(id), [epoch]))
  }

  async count (): Promise<number> {
    const sizes = await Promise.all(this.commands.indexKeys().map((keys) => this.commands.run('size', keys, [])))
    return sizes.reduce<number>((sum, size) => sum + Number(size), 0)
  }

  async * list (onUnreadable?: () => void): AsyncGenerator<StoredSession> {
    for await (const keys of this.#sessionKeys()) {
      const replies = await Promise.all(keys.map(key => this.commands.run('read', [key], [])))
      for (const [index, reply] of replies.entries()) {
        const key = String(keys[index])
        const record = this.#readAt(key, reply, { isOwn: (id) => this.commands.sessionKeys(id)[0] === key, onUnreadable })
        if (record !== undefined) yield record
      }
    }
  }

  async announce ({ node, url }: Peer, lease: number): Promise<boolean> {
    return Number(await this.commands.run('announce', this.commands.nodeKeys(node), [url, lease])) === 1
  }

  async renew (node: string, lease: number): Promise<JsonObject[] | undefined> {
    const reply = await this.commands.run('renew', this.commands.nodeKeys(node), [lease])
    return Array.isArray(reply) ? reply.map(parseObject).filter((message) => message !== undefined) : undefined
  }

  async withdraw (node: string): Promise<void> {
    await this.commands.run('withdraw', this.commands.nodeKeys(node), [])
  }

  async peer (node: string): Promise<Peer | undefined> {
    const asked = performance.now()
    const reply = await this.commands.run('peer', this.commands.nodeKeys(node), [])
    this.#peers.delete(node)
    if (!Array.isArray(reply) || reply.length === 0) return
    const peer = { node, url: String(reply[0]) }
    this.#remember(peer, asked + Number(reply[1]))
    return peer
  }

  async send (node: string, message: JsonObject): Promise<boolean> {
    const reply = await this.commands.run('send', this.commands.nodeKeys(node), [JSON.stringify(message), MAILBOX_SIZE])
    return Number(reply) === 1
  }

  async report (load: NodeLoad, lease: number): Promise<NodeLoad[]> {
    const reply = await this.commands.run('report', [this.commands.loadsKey()], [load.node, toLoadText(load), lease])
    return [reply].flat().map(parseObject).map(toLoad).filter((known) => known !== undefined)
  }

  async loads (): Promise<KnownLoad[]> {
    const reply = await this.commands.run('loads', [this.commands.loadsKey()], [])
    return [reply].flat().map(parseObject).map(toKnownLoad).filter((known) => known !== undefined)
  }

  history (): Promise<History> {
    return this.#allHistories === undefined ? this.#historyAt(this.commands.historyKey()) : this.#allHistories.ask()
  }

  async #historyAt (key: string): Promise<History> {
    const reply = await this.commands.run('history', [key], [random(32), random()])
    const [secret, id, age, fresh] = [reply].flat().map(String)
    return { secret: String(secret), id: String(id), age: Number(age), isFresh: fresh === '1' }
  }

  async #askAll (): Promise<History> {
    return joinHistories(await Promise.all(this.commands.historyKeys().map((key) => this.#historyAt(key))))
  }

  #read (id: string, reply: unknown): StoredSession | undefined {
    return this.#readAt(this.commands.sessionKeys(id)[0], reply, { isOwn: (found) => found === id })
  }

  // The record in a reply. Undefined: there is none, or it cannot be read.
  #readAt (key: string, reply: unknown, { isOwn, onUnreadable }: ReadOptions): StoredSession | undefined {
    try {
      return toRecord(reply, isOwn)
    } catch (error) {
      onUnreadable?.()
      if (!this.#unreadable.has(key)) this.#onUnreadable(asError(error), key)
      if (this.#unreadable.size >= MOST_REMEMBERED) this.#unreadable.clear()
      this.#unreadable.add(key)
      return undefined
    }
  }

  #life (lastAccessedAt: number): number {
    return remainingLife(this.ttl, lastAccessedAt, Date.now())
  }

  // A node whose lease was seen is taken for alive until that lease ends: only a node that has let go of its sessions ends it
  // early. So most lookups of a session need no second round trip for its owner.
  async #knownPeer (node: string): Promise<Peer | undefined> {
    const known = this.#peers.get(node)
    return known !== undefined && performance.now() < known.until ? known.peer : this.peer(node)
  }

  #remember (peer: Peer, until: number): void {
    const now = performance.now()
    for (const [node, known] of this.#peers) {
      if (known.until <= now) this.#peers.delete(node)
    }
    this.#peers.set(peer.node, { peer, until })
  }

  async #touch (mode: 'touch' | 'release', sessions: readonly Liveness[]): Promise<string[]> {
    // In Redis Cluster the keys of one script must share a slot, so there each session goes on its own.
    const size = this.commands.isCluster ? 1 : TOUCH_BATCH
    const batches: Array<Promise<string[]>> = []
    for (let start = 0; start < sessions.length; start += size) {
      batches.push(this.#touchBatch(mode, sessions.slice(start, start + size)))
    }
    return (await Promise.all(batches)).flat()
  }

  async #touchBatch (mode: 'touch' | 'release', batch: readonly Liveness[]): Promise<string[]> {
    const keys = batch.flatMap(({ id }) => this.commands.sessionKeys(id))
    const args = batch.flatMap(({ epoch, lastAccessedAt, from = '' }) => [epoch, lastAccessedAt, this.#life(lastAccessedAt), from])
    const reply = await this.commands.run('touch', keys, [mode, random(), ...args])
    const lost = new Set([reply].flat().map(Number))
    return batch.filter((_, index) => lost.has(index)).map(({ id }) => id)
  }

  async * #sessionKeys (): AsyncGenerator<string[]> {
    const seen = new Set<string>()
    for await (const page of this.commands.scanSessions()) {
      const fresh = page.filter(key => !seen.has(key))
      for (const key of fresh) seen.add(key)
      yield [...new Set(fresh)]
    }
  }
}

// The load as JSON, which has no Infinity.
function toLoadText ({ room, ...load }: NodeLoad): string {
  return JSON.stringify({ ...load, room: Math.min(room, Number.MAX_SAFE_INTEGER) })
}

// Undefined: it cannot be read, such as one of another version of this package.
function toLoad (value: JsonObject | undefined): NodeLoad | undefined {
  const { node, url, held, room, spare } = { ...value }
  if (typeof node !== 'string' || typeof url !== 'string' || typeof held !== 'number' || typeof room !== 'number') return undefined
  return { node, url, held, spare: spare === true, room: room === Number.MAX_SAFE_INTEGER ? Infinity : room }
}

function toKnownLoad (value: JsonObject | undefined): KnownLoad | undefined {
  const { left, load: text } = { ...value }
  const load = toLoad(parseObject(text))
  return load && { ...load, left: Number(left) }
}

function random (bytes = 9): string {
  return randomBytes(bytes).toString('base64url')
}

// For what undoes something: if that fails, the end of a lease or of a ttl clears up.
function ignoreFailure (promise: Promise<unknown>): void {
  promise.catch(() => {})
}
