import { runGuarded } from '../base/safe-call.js'

/** What has changed in what an MCP server offers: the `ServerEvent` of SDK 2. */
export type ServerChange =
  | { readonly kind: 'tools_list_changed' | 'prompts_list_changed' | 'resources_list_changed' }
  | { readonly kind: 'resource_updated', readonly uri: string }

/** Whom a change is for. `{}` is everybody. */
export interface Audience {
  /** The id of a session. Clients of 2026-07-28 have none. */
  readonly session?: string | undefined
  /** All sessions and streams of one principal. */
  readonly principal?: string | undefined
}

/** A change, and whom it is told: what one node tells all others. */
export interface Announcement {
  /** What has changed. */
  readonly change: ServerChange
  /** Who is to hear of it. */
  readonly audience: Audience
}

export type AnnouncementListener = (announcement: Announcement) => void

/** Carries announcements to all who listen, in this process or in all of a cluster. */
export interface Announcements {
  publish (announcement: Announcement): void
  /** Returns how to stop listening. */
  subscribe (listener: AnnouncementListener): () => void
  /**
   * What was announced in the last half minute, the oldest first, each once: for a client that comes back after its stream
   * has broken.
   */
  recent (): Announcement[]
}

// How long a client may be away, in milliseconds: for as long as a deploy takes to end its stream and let it in again.
const MEMORY = 30_000
const MOST_REMEMBERED = 1000

/** The announcements of one process. In a cluster another class carries them to and from the other nodes. */
export class LocalAnnouncements implements Announcements {
  readonly #onError: (error: Error) => void
  readonly #listeners = new Set<{ readonly hear: AnnouncementListener }>()
  // By what they say, in the order in which they were last published.
  readonly #remembered = new Map<string, { readonly announcement: Announcement, readonly at: number }>()

  /** @param onError gets what a listener throws */
  constructor (onError: (error: Error) => void) {
    this.#onError = onError
  }

  publish (announcement: Announcement): void {
    this.remember(announcement, Date.now())
    for (const { hear } of Array.from(this.#listeners)) runGuarded(() => hear(announcement), this.#onError)
  }

  subscribe (hear: AnnouncementListener): () => void {
    const listener = { hear }
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  recent (): Announcement[] {
    const since = Date.now() - MEMORY
    return Array.from(this.#remembered.values()).filter(({ at }) => at > since).map(({ announcement }) => announcement)
  }

  /** Takes note of one that was published at this time, in milliseconds since the epoch. */
  remember (announcement: Announcement, at: number): void {
    const key = JSON.stringify([announcement.change, announcement.audience])
    this.#remembered.delete(key)
    this.#remembered.set(key, { announcement, at })
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= MOST_REMEMBERED) break
      this.#remembered.delete(oldest)
    }
  }
}

/** Whether somebody who has this session, or none, and is this principal belongs to the audience. */
export function isAddressed ({ session, principal }: Audience, who: Audience): boolean {
  return (session === undefined || session === who.session) && (principal === undefined || principal === who.principal)
}
