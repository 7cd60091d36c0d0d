import { randomUUID } from 'node:crypto'
import { LocalAnnouncements, type Announcement, type AnnouncementListener, type Announcements } from '../../http/announcements.js'
import type { RedisCommands } from './commands.js'
import { parseObject } from './record.js'

export interface RedisAnnouncementsOptions {
  readonly commands: RedisCommands
  /** Told what has failed, such as that Redis does not answer. It is tried again. */
  readonly onError: (message: string, error: unknown) => void
}

interface Entry {
  readonly sender: string
  readonly announcement: Announcement
  /** Milliseconds since Redis had it. */
  readonly age: number
}

// How often a node reads without having been woken, and tries again what Redis did not take, in milliseconds.
const INTERVAL = 10_000
const MOST_UNSENT = 1000
const FIRST = '0-0'
const FAILURE = 'What has changed cannot be told to the other nodes, nor heard from them; this is tried again'

/**
 * The announcements of a cluster. They stand in a log in Redis, for longer than a client may be away. A message on a channel
 * only wakes the nodes that read the log: if one is lost, its announcement is still read, a little later.
 *
 * On its own node an announcement is heard at once, whether Redis answers or not.
 */
export class RedisAnnouncements implements Announcements {
  readonly #commands: RedisCommands
  readonly #onError: RedisAnnouncementsOptions['onError']
  readonly #local: LocalAnnouncements
  readonly #sender = randomUUID()
  #unsent: Announcement[] = []
  #subscriber: ReturnType<RedisCommands['createSubscriber']> | undefined
  #timer: NodeJS.Timeout | undefined
  #lastId: string | undefined
  // When this node began to listen. That can be long before Redis answers for the first time.
  #listensSince = Infinity
  #reading: Promise<void> | undefined
  #isWoken = false
  #isFailing = false

  constructor ({ commands, onError }: RedisAnnouncementsOptions) {
    this.#commands = commands
    this.#onError = onError
    this.#local = new LocalAnnouncements((error) => onError('Somebody who listens to announcements has failed', error))
  }

  publish (announcement: Announcement): void {
    this.#local.publish(announcement)
    this.#unsent.push(announcement)
    // The oldest goes: its change is the one that clients have most likely seen by themselves since.
    if (this.#unsent.length > MOST_UNSENT) this.#unsent.shift()
    this.#wake()
  }

  subscribe (listener: AnnouncementListener): () => void {
    return this.#local.subscribe(listener)
  }

  recent (): Announcement[] {
    return this.#local.recent()
  }

  /** Begins to listen to the other nodes, on a connection of its own. */
  start (): void {
    this.#listensSince = performance.now()
    this.#subscriber = this.#commands.createSubscriber(() => this.#wake())
    this.#timer = setInterval(() => this.#wake(), INTERVAL)
    this.#timer.unref()
    this.#wake()
  }

  /** Sends what is left, and ends the connection. Never rejects. */
  async close (): Promise<void> {
    clearInterval(this.#timer)
    await this.#reading
    this.#subscriber?.close()
  }

  // One round at a time. Who calls meanwhile has another one follow.
  #wake (): void {
    this.#isWoken = true
    this.#reading ??= this.#run().finally(() => { this.#reading = undefined })
  }

  async #run (): Promise<void> {
    while (this.#isWoken) {
      this.#isWoken = false
      try {
        await this.#send()
        await this.#read()
        this.#isFailing = false
      } catch (error) {
        if (!this.#isFailing) this.#onError(FAILURE, error)
        this.#isFailing = true
        return
      }
    }
  }

  async #send (): Promise<void> {
    for (let announcement = this.#unsent[0]; announcement !== undefined; announcement = this.#unsent[0]) {
      const message = JSON.stringify({ sender: this.#sender, ...announcement })
      await this.#commands.run('publish', [this.#commands.announcementsKey()], [message, this.#commands.announcementsChannel()])
      // It may have been pushed out meanwhile.
      if (this.#unsent[0] === announcement) this.#unsent.shift()
    }
  }

  async #read (): Promise<void> {
    const since = this.#lastId
    const [lastId, entries] = readReply(await this.#commands.run('published', [this.#commands.announcementsKey()], [since ?? FIRST]))
    const listensFor = performance.now() - this.#listensSince
    for (const { sender, announcement, age } of entries) {
      // Clients of this node came after it, so what is older than this node is no news to them. It is only remembered, for
      // those that come from another node.
      if (since === undefined && age >= listensFor) this.#local.remember(announcement, Date.now() - age)
      else if (sender !== this.#sender) this.#local.publish(announcement)
    }
    this.#lastId = lastId
  }
}

// [time, last id, [[id, message], …]], as the script has it.
function readReply (reply: unknown): [lastId: string, entries: Entry[]] {
  const [now, lastId, rows]: unknown[] = [reply].flat()
  return [String(lastId), [rows].flat().map((row) => readEntry(row, Number(now))).filter((entry) => entry !== undefined)]
}

// An entry of the log. Undefined: it cannot be read, such as one of a later version of this package.
function readEntry (row: unknown, now: number): Entry | undefined {
  const [id, text]: unknown[] = [row].flat()
  const message = parseObject(text)
  if (message === undefined || !isMessage(message)) return undefined
  const { sender, change, audience } = message
  return { sender, announcement: { change, audience }, age: now - Number.parseInt(String(id)) }
}

function isMessage (value: object): value is Announcement & { sender: string } {
  return 'sender' in value && typeof value.sender === 'string' &&
    'audience' in value && typeof value.audience === 'object' && value.audience !== null &&
    'change' in value && isChange(value.change)
}

function isChange (value: unknown): boolean {
  if (typeof value !== 'object' || value === null || !('kind' in value)) return false
  if (value.kind === 'resource_updated') return 'uri' in value && typeof value.uri === 'string'
  return value.kind === 'tools_list_changed' || value.kind === 'prompts_list_changed' || value.kind === 'resources_list_changed'
}
