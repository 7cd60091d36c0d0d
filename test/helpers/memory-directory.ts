import { randomUUID } from 'node:crypto'
import {
  DirectoryUnavailableError, remainingLife, type Changes, type Directory, type Held, type JsonObject,
  type Liveness, type Located, type NewSession, type Peer, type StoredSession
} from '../../lib/cluster/directory.js'

interface Entry { record: StoredSession, until: number }
interface Lease { peer: Peer, until: number, mail: JsonObject[] }

/** The directory in one process: give the same one to several "nodes". Time is whatever `now` says. */
export class MemoryDirectory implements Directory {
  readonly ttl: number
  /** While true, nothing is answered: every method rejects. */
  away = false
  /** How many calls were made, by method. */
  readonly calls = new Map<string, number>()
  readonly #now: () => number
  readonly #sessions = new Map<string, Entry>()
  readonly #leases = new Map<string, Lease>()
  #secret: string | undefined
  #epoch = 0

  constructor ({ ttl = 3_600_000, now = Date.now }: { ttl?: number, now?: () => number } = {}) {
    this.ttl = ttl
    this.#now = now
  }

  /** Forgets everything, as a store does that was restarted without its data. */
  wipe (): void {
    this.#sessions.clear()
    this.#leases.clear()
    this.#secret = undefined
  }

  async create (session: NewSession): Promise<number | undefined> {
    this.#answer('create')
    if (this.#entry(session.id) !== undefined) return
    const record = { ...structuredClone(session), epoch: ++this.#epoch }
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

  async claim (id: string, epoch: number, node: string, lastAccessedAt: number): Promise<StoredSession | undefined> {
    this.#answer('claim')
    const entry = this.#held({ id, epoch })
    if (entry === undefined) return
    Object.assign(entry.record, { owner: node, epoch: ++this.#epoch, lastAccessedAt })
    entry.until = this.#until(lastAccessedAt)
    return structuredClone(entry.record)
  }

  async touch (sessions: readonly Liveness[]): Promise<string[]> {
    this.#answer('touch')
    return this.#write(sessions, () => {})
  }

  async update (id: string, epoch: number, changes: Changes): Promise<boolean> {
    this.#answer('update')
    const entry = this.#held({ id, epoch })
    if (entry === undefined) return false
    Object.assign(entry.record, structuredClone(changes))
    return true
  }

  async release (sessions: readonly Liveness[]): Promise<string[]> {
    this.#answer('release')
    return this.#write(sessions, record => Object.assign(record, { owner: undefined, epoch: ++this.#epoch }))
  }

  async remove (id: string, epoch?: number): Promise<StoredSession | undefined> {
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

  async secret (): Promise<string> {
    this.#answer('secret')
    return (this.#secret ??= randomUUID())
  }

  #answer (method: string): void {
    this.calls.set(method, (this.calls.get(method) ?? 0) + 1)
    if (this.away) throw new DirectoryUnavailableError('The directory is away')
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

  #write (sessions: readonly Liveness[], change: (record: StoredSession) => void): string[] {
    const lost: string[] = []
    for (const session of sessions) {
      const entry = this.#held(session)
      if (entry === undefined) {
        lost.push(session.id)
      } else {
        entry.record.lastAccessedAt = session.lastAccessedAt
        entry.until = this.#until(session.lastAccessedAt)
        change(entry.record)
      }
    }
    return lost
  }
}
