import { refuse } from '../../base/option-checks.js'
import type { ServerChange } from '../../http/announcements.js'
import type { AuthInfo } from '../auth-info.js'

/** Serves clients of revision 2026-07-28: what `createMcpHandler` of SDK 2 returns. */
export interface ModernHandler {
  /** Answers a request of revision 2026-07-28. */
  fetch: (request: Request, options?: { authInfo?: AuthInfo, parsedBody?: unknown }) => Promise<Response>
  /** Called once as the app closes, after `drainTimeout` at the latest. It has to end the streams that are open. */
  close: () => Promise<void>
  /** Told what `app.mcp.notify` says to everybody, if there is no `bus`. */
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
  /**
   * Told what `app.mcp.notify` says to everybody. It may be `app.mcp.bus`: then streams also hear what is for their principal
   * alone.
   */
  bus?: {
    /** Tells those streams that have asked for it. */
    publish (event: ServerChange): void
  }
}

const WHOLE = 'the whole handler, so that it can be closed: write "modern: handler" for "modern: handler.fetch"'
const EXPECTED = 'true, or what createMcpHandler() returns: an object { fetch, close, notify?, bus? }'
const NOTIFIERS = ['toolsChanged', 'promptsChanged', 'resourcesChanged', 'resourceUpdated']

/** @throws TypeError that says what to write instead */
export function checkModern (value: ModernHandler | undefined): ModernHandler | undefined {
  if (value === undefined) return undefined
  // With `fetch` alone nobody could close the handler, and its streams would be cut off.
  if (typeof value === 'function') refuse('modern', WHOLE, value)
  if (typeof value !== 'object' || value === null || !hasMethods(value, ['fetch', 'close'])) refuse('modern', EXPECTED, value)
  const { notify, bus } = value
  if (notify !== undefined && !hasMethods(notify, NOTIFIERS)) refuse('modern.notify', `an object { ${NOTIFIERS.join(', ')} }`, notify)
  if (bus !== undefined && !hasMethods(bus, ['publish'])) refuse('modern.bus', 'an object with a method publish(event)', bus)
  return value
}

function hasMethods (value: unknown, names: readonly string[]): boolean {
  return typeof value === 'object' && value !== null && names.every((name) => typeof Reflect.get(value, name) === 'function')
}
