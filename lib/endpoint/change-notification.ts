import type { ServerChange } from '../http/announcements.js'
import { isObject, type JSONRPCMessage } from './transport/json-rpc.js'

interface Kind {
  readonly method: string
  /** The capability that a server must have declared to send it. */
  readonly capability: readonly [feature: string, detail: string]
}

/** @see https://modelcontextprotocol.io/specification/2025-11-25/server/tools#list-changed-notification */
const kinds: { readonly [kind in ServerChange['kind']]: Kind } = {
  tools_list_changed: { method: 'notifications/tools/list_changed', capability: ['tools', 'listChanged'] },
  prompts_list_changed: { method: 'notifications/prompts/list_changed', capability: ['prompts', 'listChanged'] },
  resources_list_changed: { method: 'notifications/resources/list_changed', capability: ['resources', 'listChanged'] },
  resource_updated: { method: 'notifications/resources/updated', capability: ['resources', 'subscribe'] }
}

/** The notification of a change that a client with a session is sent. */
export function toNotification (change: ServerChange): JSONRPCMessage {
  const { method } = kinds[change.kind]
  return { jsonrpc: '2.0', method, ...('uri' in change && { params: { uri: change.uri } }) }
}

/** Whether a server with these capabilities, as it has declared them to its client, sends such a notification. */
export function isDeclared ({ kind }: ServerChange, capabilities: unknown): boolean {
  const [feature, detail] = kinds[kind].capability
  const declared = isObject(capabilities) ? capabilities[feature] : undefined
  return isObject(declared) && declared[detail] === true
}
