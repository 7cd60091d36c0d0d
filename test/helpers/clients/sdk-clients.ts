import { Client as Client2, StreamableHTTPClientTransport as Transport2 } from '@modelcontextprotocol/client'
import { Client as Client1 } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as Transport1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import {
  CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema, LoggingMessageNotificationSchema, ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema
} from '@modelcontextprotocol/sdk/types.js'
import type { Test } from 'tap'

/** A client of either SDK. It answers whatever the server asks. */
export interface SdkClient {
  readonly sessionId: string
  /** What the server has said of its own accord, in order. */
  readonly heard: string[]
  listTools (): Promise<string[]>
  /** Resolves to the text of the answer. What progress there is on the way is heard. */
  callTool (name: string, args?: Record<string, unknown>, signal?: AbortSignal): Promise<string>
  subscribe (uri: string): Promise<void>
  /** Ends the session. */
  terminate (): Promise<void>
}

const INFO = { name: 'test', version: '1.0.0' }
const CAPABILITIES = { capabilities: { elicitation: {}, sampling: {}, roots: {} } }
const ROOTS = { roots: [{ uri: 'file:///home' }] }
const ELICITED = { action: 'accept', content: { name: 'Ada' } } as const
const SAMPLE = { model: 'test', role: 'assistant', content: { type: 'text', text: 'Hello!' } } as const

export type SdkKind = 'SDK 1' | 'SDK 2, legacy' | 'SDK 2, auto'

export async function connectSdkClient (t: Test, kind: SdkKind, url: URL): Promise<SdkClient> {
  if (kind === 'SDK 1') return connectClient1(t, url)
  return connectClient2(t, url, kind === 'SDK 2, auto' ? 'auto' : 'legacy')
}

async function connectClient1 (t: Test, url: URL): Promise<SdkClient> {
  const heard: string[] = []
  const client = new Client1(INFO, CAPABILITIES)
  const transport = new Transport1(url)
  client.setRequestHandler(ElicitRequestSchema, async () => ELICITED)
  client.setRequestHandler(CreateMessageRequestSchema, async () => SAMPLE)
  client.setRequestHandler(ListRootsRequestSchema, async () => ROOTS)
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => { heard.push(`log ${String(params.data)}`) })
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => { heard.push('tools changed') })
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => { heard.push(`updated ${params.uri}`) })
  await client.connect(transport)
  t.teardown(() => client.close())
  return {
    sessionId: String(transport.sessionId),
    heard,
    listTools: async () => (await client.listTools()).tools.map(({ name }) => name),
    async callTool (name, args = {}, signal) {
      const onprogress = ({ progress }: { progress: number }): void => { heard.push(`progress ${progress}`) }
      return readText(await client.callTool({ name, arguments: args }, undefined, { onprogress, ...(signal && { signal }) }))
    },
    async subscribe (uri) { await client.subscribeResource({ uri }) },
    terminate: () => transport.terminateSession()
  }
}

async function connectClient2 (t: Test, url: URL, mode: 'legacy' | 'auto'): Promise<SdkClient> {
  const heard: string[] = []
  const client = new Client2(INFO, { ...CAPABILITIES, versionNegotiation: { mode } })
  const transport = new Transport2(url)
  client.setRequestHandler('elicitation/create', async () => ELICITED)
  client.setRequestHandler('sampling/createMessage', async () => SAMPLE)
  client.setRequestHandler('roots/list', async () => ROOTS)
  client.setNotificationHandler('notifications/message', ({ params }) => { heard.push(`log ${String(params.data)}`) })
  client.setNotificationHandler('notifications/tools/list_changed', () => { heard.push('tools changed') })
  client.setNotificationHandler('notifications/resources/updated', ({ params }) => { heard.push(`updated ${params.uri}`) })
  await client.connect(transport)
  t.teardown(() => client.close())
  return {
    sessionId: String(transport.sessionId),
    heard,
    listTools: async () => (await client.listTools()).tools.map(({ name }) => name),
    async callTool (name, args = {}, signal) {
      const onprogress = ({ progress }: { progress: number }): void => { heard.push(`progress ${progress}`) }
      return readText(await client.callTool({ name, arguments: args }, { onprogress, ...(signal && { signal }) }))
    },
    async subscribe (uri) { await client.subscribeResource({ uri }) },
    terminate: () => transport.terminateSession()
  }
}

function readText (result: object): string {
  const content: unknown = Reflect.get(result, 'content')
  const [first] = Array.isArray(content) ? content : []
  return String(Object(first).text)
}
