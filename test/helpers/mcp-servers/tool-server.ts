import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { SubscribeRequestSchema, UnsubscribeRequestSchema, type CallToolResult } from '@modelcontextprotocol/sdk/types.js'
import { z } from 'zod'
import { createDeferred } from '../waiting/deferred.js'
import { NOTE_URI, WaitingServer } from './waiting-server.js'

/** An MCP server whose tools do what a test asks for, when it asks for it. */
export class ToolServer extends WaitingServer {
  readonly mcp = new McpServer({ name: 'tools', version: '1.0.0' }, {
    capabilities: { logging: {}, resources: { subscribe: true, listChanged: true } }
  })

  /** Calls of `wait` that were cancelled, or whose session ended. */
  aborted = 0
  /** The URIs of what was subscribed to, in their order. */
  readonly subscriptions: string[] = []
  closed = 0

  constructor () {
    super()
    this.#addQuickTools()
    this.#addWaitingTools()
    this.#addClientTools()
    this.#addResource()
    this.mcp.server.onclose = () => { this.closed++ }
  }

  /** Asks the client for a sample, outside of any call. */
  async sample (): Promise<string> {
    const { content } = await this.mcp.server.createMessage({ messages: [{ role: 'user', content: { type: 'text', text: 'Say hello' } }], maxTokens: 10 })
    return 'text' in content ? content.text : 'no text'
  }

  #addQuickTools (): void {
    this.mcp.registerTool('echo', { inputSchema: { text: z.string() } }, async ({ text }) => toResult(text))
    this.mcp.registerTool('big', { inputSchema: { bytes: z.number() } }, async ({ bytes }) => toResult('x'.repeat(bytes)))
    this.mcp.registerTool('who', {}, async ({ authInfo }) => toResult(authInfo?.clientId ?? 'nobody'))
    this.mcp.registerTool('grow', {}, async () => {
      this.mcp.registerTool('grown', {}, async () => toResult('grown'))
      return toResult('ok')
    })
    this.mcp.registerTool('report', {}, async ({ _meta, sendNotification }) => {
      const progressToken = _meta?.progressToken
      for (const progress of progressToken === undefined ? [] : [1, 2]) {
        await sendNotification({ method: 'notifications/progress', params: { progressToken: progressToken ?? '', progress, total: 2 } })
      }
      await sendNotification({ method: 'notifications/message', params: { level: 'warning', data: 'reported' } })
      return toResult('done')
    })
    this.mcp.registerTool('end', {}, async () => {
      await this.mcp.close()
      return toResult('ended')
    })
  }

  #addWaitingTools (): void {
    this.mcp.registerTool('wait', {}, async ({ signal }) => {
      signal.addEventListener('abort', () => { this.aborted++ })
      return toResult(await this.#wait())
    })
    this.mcp.registerTool('tell', {}, async ({ sendNotification }) => {
      await sendNotification({ method: 'notifications/message', params: { level: 'info', data: 'first' } })
      const told = await this.#wait()
      await sendNotification({ method: 'notifications/message', params: { level: 'info', data: told } })
      return toResult(await this.#wait())
    })
    this.mcp.registerTool('steps', {}, async ({ _meta, sendNotification }) => {
      await sendNotification({ method: 'notifications/progress', params: { progressToken: _meta?.progressToken ?? '', progress: 1, total: 2 } })
      await sendNotification({ method: 'notifications/message', params: { level: 'info', data: 'working' } })
      return toResult(await this.#wait())
    })
    this.mcp.registerTool('poll', {}, async ({ closeSSEStream }) => {
      closeSSEStream?.()
      return toResult(await this.#wait())
    })
  }

  #addClientTools (): void {
    this.mcp.registerTool('ask', {}, async ({ requestId }) => {
      const { action, content } = await this.mcp.server.elicitInput({
        message: 'Your name?',
        requestedSchema: { type: 'object', properties: { name: { type: 'string' } } }
      }, { relatedRequestId: requestId })
      return toResult(`${action} ${content?.['name']}`)
    })
    // Without the id of the call, so that it goes out on the GET stream.
    this.mcp.registerTool('sample', {}, async () => toResult(await this.sample()))
    this.mcp.registerTool('roots', {}, async ({ requestId }) => {
      const { roots } = await this.mcp.server.listRoots(undefined, { relatedRequestId: requestId })
      return toResult(roots.map(({ uri }) => uri).join())
    })
  }

  #addResource (): void {
    this.mcp.registerResource('note', NOTE_URI, {}, async () => ({ contents: [{ uri: NOTE_URI, text: 'A note' }] }))
    this.mcp.server.setRequestHandler(SubscribeRequestSchema, async ({ params }) => {
      this.subscriptions.push(params.uri)
      return {}
    })
    this.mcp.server.setRequestHandler(UnsubscribeRequestSchema, async () => ({}))
  }

  async #wait (): Promise<string> {
    const deferred = createDeferred<string>()
    this.waiting.push(deferred)
    return deferred.promise
  }
}

function toResult (text: string): CallToolResult {
  return { content: [{ type: 'text', text }] }
}
