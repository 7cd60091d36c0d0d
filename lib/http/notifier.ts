import { checkNames, refuse } from '../base/option-checks.js'
import type { Announcements, Audience, ServerChange } from './announcements.js'

/**
 * Tells clients what has changed: those with a session and those of 2026-07-28, on all nodes of a cluster.
 *
 * A client hears of it if its server has declared the capability, and of a resource if it has subscribed to it.
 * Sessions hear of it on their GET stream, clients of 2026-07-28 on `subscriptions/listen`. It goes to everybody, unless
 * `audience` names a session or a principal. One that is named and undefined, as of a caller who is anonymous, is refused
 * with a TypeError: it would be everybody.
 *
 * @example
 * app.mcp.notify.toolsChanged()
 * app.mcp.notify.resourceUpdated('notes://1', { principal: 'alice' })
 */
export class Notifier {
  readonly #announcements: Announcements

  constructor (announcements: Announcements) {
    this.#announcements = announcements
  }

  /** `notifications/tools/list_changed` */
  toolsChanged (audience?: Audience): void {
    this.#announce({ kind: 'tools_list_changed' }, audience)
  }

  /** `notifications/prompts/list_changed` */
  promptsChanged (audience?: Audience): void {
    this.#announce({ kind: 'prompts_list_changed' }, audience)
  }

  /** `notifications/resources/list_changed` */
  resourcesChanged (audience?: Audience): void {
    this.#announce({ kind: 'resources_list_changed' }, audience)
  }

  /** `notifications/resources/updated` */
  resourceUpdated (uri: string, audience?: Audience): void {
    if (typeof uri !== 'string') refuse('uri', 'the URI of a resource', uri)
    this.#announce({ kind: 'resource_updated', uri }, audience)
  }

  /** `toolsChanged` by the name that a filter of `subscriptions/listen` has. */
  toolsListChanged (audience?: Audience): void {
    this.toolsChanged(audience)
  }

  /** `promptsChanged` by the name that a filter of `subscriptions/listen` has. */
  promptsListChanged (audience?: Audience): void {
    this.promptsChanged(audience)
  }

  /** `resourcesChanged` by the name that a filter of `subscriptions/listen` has. */
  resourcesListChanged (audience?: Audience): void {
    this.resourcesChanged(audience)
  }

  // A misspelt name, or a value that is not known, would turn the audience into everybody.
  #announce (change: ServerChange, audience: Audience = {}): void {
    if (typeof audience !== 'object' || audience === null) refuse('audience', 'an object { session, principal }', audience)
    checkNames(audience, ['session', 'principal'], 'audience')
    for (const [name, value] of Object.entries(audience)) {
      if (typeof value !== 'string') refuse(`audience.${name}`, 'a string (left out: everybody)', value)
    }
    this.#announcements.publish({ change, audience })
  }
}
