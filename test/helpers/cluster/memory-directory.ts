import { randomUUID } from 'node:crypto'
import {
  DirectoryUnavailableError, remainingLife, type Changes, type Claimable, type Copy, type Directory, type Held, type History,
  type JsonObject, type KnownLoad, type Liveness, type Located, type NewSession, type NodeLoad, type Peer, type StoredSession
} from '../../../lib/cluster/directory.js'

interface Entry { record: StoredSession, until: number, from?: string | undefined }
interface Lease { peer: Peer, until: number, mail: JsonObject[] }

/** The directory in one process: give the same one to several "nodes". Time is whatever `now` says. */
export class MemoryDirectory implements Directory {
  readonly ttl: number
  readonly isInParts = false
  /** While true, nothing is answered: every method rejects. */
  away = false
  /** How many calls were made, by method. */
  readonly calls = new Map<string, number>()
  readonly #now: () => number
  readonly #sessions = new Map<string, Entry>()
  readonly #leases = new Map<string, Lease>()
  readonly #loads = new Map<string, { load: NodeLoad, until: number }>()
  #secret = randomUUID()
  #history = { id: 'first', since: -Infinity, isFresh: true }
  #epoch = 0

  constructor ({ ttl = 3_600_000, now = Date.now }: { ttl?: number, now?: () => number } = {}) {
    this.ttl = ttl
    this.#now = now
  }

  /** Forgets everything, as a store does that was restarted without its data. */
  wipe (): void {
    this.#sessions.clear()
    this.#leases.clear()
    this.#loads.clear()
    this.#secret = randomUUID()
    this.#history = { id: randomUUID(), since: this.#now(), isFresh: true }
  }

  /** Returns what brings back all that it knows now, as a failover does to a replica that has not heard the rest. */
  replicate (): () => void {
    const sessions = structuredClone(this.#sessions)
    const leases = structuredClone(this.#leases)
    return () => {
      this.#sessions.clear()
      for (const [id, entry] of sessions) this.#sessions.set(id, entry)
      this.#leases.clear()
      for (const [node, lease] of leases) this.#leases.set(node, lease)
      this.#history = { id: randomUUID(), since: this.#now(), isFresh: false }
    }
  }

  async create (session: NewSession): Promise<string | undefined> {
    this.#answer('create')
    const known = this.#entry(session.id)?.record
    if (known !== undefined && (known.owner !== session.owner || known.createdAt !== session.createdAt)) return
    const record = { ...structuredClone(session), epoch: this.#nextEpoch() }
    this.#sessions.set(session.id, { record, until: this.#until(session.lastAccessedAt) })
    return record.epoch
  }

  async get (id: string): Promise<Located | undefined> {
    this.#answer('get')
    const record = this.#entry(id)?.record
    if (record === undefined) return
    const owner = record.owner === undefined ? undefined : this.#lease(record.owner)?.peer
    return structuredClone({ record, owner })
  }

  async claim ({ id, epoch, owner }: Claimable, node: string, lastAccessedAt: number): Promise<StoredSession | undefined> {
    this.#answer('claim')
    const entry = this.#entry(id)
    if (entry === undefined) return
    const { record } = entry
    const isUndone = record.owner === undefined && entry.from === epoch
    if (record.owner !== node && (record.epoch !== epoch || record.owner !== owner) && !isUndone) return
    Object.assign(record, { owner: node, epoch: this.#nextEpoch(), lastAccessedAt })
    entry.from = undefined
    entry.until = this.#until(lastAccessedAt)
    return structuredClone(record)
  }

  async recover (session: NewSession, { epoch, isCertain, mustExist }: Copy): Promise<string | undefined> {
    this.#answer('recover')
    const entry = this.#entry(session.id)
    if (entry === undefined && mustExist) return
    if (entry !== undefined && entry.record.owner !== session.owner && rank(entry.from ?? entry.record.epoch) > rank(epoch)) return
    const record = { ...structuredClone(session), epoch: this.#nextEpoch() }
    this.#sessions.set(session.id, { record, until: this.#until(session.lastAccessedAt), from: isCertain ? undefined : epoch })
    return record.epoch
  }

  async touch (sessions: readonly Liveness[]): Promise<string[]> {
    this.#answer('touch')
    return this.#write(sessions, () => {})
  }

  async update (id: string, epoch: string, changes: Changes): Promise<boolean> {
    this.#answer('update')
    const entry = this.#held({ id, epoch })
    if (entry === undefined) return false
    Object.assign(entry.record, structuredClone(changes))
    return true
  }

  async release (sessions: readonly Liveness[]): Promise<string[]> {
    this.#answer('release')
    return this.#write(sessions, (entry, { from }) => {
      Object.assign(entry.record, { owner: undefined, epoch: this.#nextEpoch() })
      entry.from = from ?? entry.from
    })
  }

  async remove (id: string, epoch?: string): Promise<StoredSession | undefined> {
    this.#answer('remove')
    const entry = epoch === undefined ? this.#entry(id) : this.#held({ id, epoch })
    if (entry !== undefined) this.#sessions.delete(id)
    return entry?.record
  }

  async count (): Promise<number> {
    this.#answer('count')
    return [...this.#sessions.keys()].filter(id => this.#entry(id) !== undefined).length
  }

  async * list (): AsyncGenerator<StoredSession> {
    this.#answer('list')
    for (const id of [...this.#sessions.keys()]) {
      const entry = this.#entry(id)
      if (entry !== undefined) yield structuredClone(entry.record)
    }
  }

  async announce (peer: Peer, lease: number): Promise<boolean> {
    this.#answer('announce')
    if (this.#lease(peer.node) !== undefined) return false
    this.#leases.set(peer.node, { peer, until: this.#now() + lease, mail: [] })
    return true
  }

  async renew (node: string, lease: number): Promise<JsonObject[] | undefined> {
    this.#answer('renew')
    const held = this.#lease(node)
    if (held === undefined) return
    held.until = this.#now() + lease
    return held.mail.splice(0)
  }

  async withdraw (node: string): Promise<void> {
    this.#answer('withdraw')
    this.#leases.delete(node)
  }

  async peer (node: string): Promise<Peer | undefined> {
    this.#answer('peer')
    return this.#lease(node)?.peer
  }

  async send (node: string, message: JsonObject): Promise<boolean> {
    this.#answer('send')
    const lease = this.#lease(node)
    lease?.mail.push(structuredClone(message))
    lease?.mail.splice(0, lease.mail.length - 1024)
    return lease !== undefined
  }

  async report (load: NodeLoad, lease: number): Promise<NodeLoad[]> {
    this.#answer('report')
    this.#loads.set(load.node, { load: { ...load }, until: this.#now() + lease })
    for (const [node, { until }] of this.#loads) if (until <= this.#now()) this.#loads.delete(node)
    return structuredClone(Array.from(this.#loads.values(), ({ load }) => load))
  }

  async loads (): Promise<KnownLoad[]> {
    this.#answer('loads')
    const now = this.#now()
    return Array.from(this.#loads.values(), ({ load, until }) => ({ ...load, left: until - now })).filter(({ left }) => left > 0)
  }

  async history (): Promise<History> {
    this.#answer('history')
    const { id, since, isFresh } = this.#history
    return { id, age: this.#now() - since, isFresh, secret: this.#secret }
  }

  #answer (method: string): void {
    this.calls.set(method, (this.calls.get(method) ?? 0) + 1)
    if (this.away) throw new DirectoryUnavailableError('The directory is away')
  }

  #nextEpoch (): string {
    return `${++this.#epoch}`.padStart(16, '0') + `-${randomUUID().slice(0, 8)}`
  }

  #until (lastAccessedAt: number): number {
    const now = this.#now()
    return this.ttl === 0 ? Infinity : now + remainingLife(this.ttl, lastAccessedAt, now)
  }

  #entry (id: string): Entry | undefined {
    const entry = this.#sessions.get(id)
    return entry !== undefined && this.#now() < entry.until ? entry : undefined
  }

  #held ({ id, epoch }: Held): Entry | undefined {
    const entry = this.#entry(id)
    return entry?.record.epoch === epoch ? entry : undefined
  }

  #lease (node: string): Lease | undefined {
    const lease = this.#leases.get(node)
    return lease !== undefined && this.#now() < lease.until ? lease : undefined
  }

  #write (sessions: readonly Liveness[], change: (entry: Entry, session: Liveness) => void): string[] {
    const lost: string[] = []
    for (const session of sessions) {
      const entry = this.#held(session)
      if (entry === undefined) {
        lost.push(session.id)
      } else {
        entry.record.lastAccessedAt = session.lastAccessedAt
        entry.until = this.#until(session.lastAccessedAt)
        change(entry, session)
      }
    }
    return lost
  }
}

function rank (epoch: string): number {
  return parseInt(epoch, 10)
}
