import { refuse } from '../../base/option-checks.js'
import type { ServerChange } from '../../http/announcements.js'
import type { AuthInfo } from '../auth-info.js'

/** Serves clients of revision 2026-07-28: what `createMcpHandler` of SDK 2 returns. */
export interface ModernHandler {
  /** Answers a request of revision 2026-07-28. */
  fetch: (request: Request, options?: { authInfo?: AuthInfo, parsedBody?: unknown }) => Promise<Response>
  /** Called once as the app closes, when the running calls have had their time: it has to end the streams that are open. */
  close: () => Promise<void>
  /** What `app.mcp.notify` says to everybody goes in here, if there is no `bus`. */
  notify?: {
    /** The list of tools is another one. */
    toolsChanged (): void
    /** The list of prompts is another one. */
    promptsChanged (): void
    /** The list of resources is another one. */
    resourcesChanged (): void
    /** One resource has changed. */
    resourceUpdated (uri: string): void
  }
  /** What `app.mcp.notify` says to everybody goes in here. It may be `app.mcp.bus`: then streams hear what is for their principal, too. */
  bus?: {
    /** Tells those streams that have asked for it. */
    publish (event: ServerChange): void
  }
}

const EXPECTED = 'true, or what createMcpHandler() returns: an object { fetch, close, notify?, bus? }'
const NOTIFIERS = ['toolsChanged', 'promptsChanged', 'resourcesChanged', 'resourceUpdated']

/** @throws TypeError that says what to write instead */
export function checkModern (value: ModernHandler | undefined): ModernHandler | undefined {
  if (value === undefined) return undefined
  // Nobody could close it, and its streams would be cut.
  if (typeof value === 'function') refuse('modern', 'the whole handler, so that it can be closed: write "modern: handler" for "modern: handler.fetch"', value)
  if (typeof value !== 'object' || value === null || !hasMethods(value, ['fetch', 'close'])) refuse('modern', EXPECTED, value)
  if (value.notify !== undefined && !hasMethods(value.notify, NOTIFIERS)) refuse('modern.notify', `an object { ${NOTIFIERS.join(', ')} }`, value.notify)
  if (value.bus !== undefined && !hasMethods(value.bus, ['publish'])) refuse('modern.bus', 'an object with a method publish(event)', value.bus)
  return value
}

function hasMethods (value: unknown, names: readonly string[]): boolean {
  return typeof value === 'object' && value !== null && names.every((name) => typeof Reflect.get(value, name) === 'function')
}
