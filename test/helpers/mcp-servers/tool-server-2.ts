import { McpServer, type CallToolResult } from '@modelcontextprotocol/server'
import { z } from 'zod'
import { createDeferred } from '../waiting/deferred.js'
import { NOTE_URI, WaitingServer } from './waiting-server.js'

/** The tools of `ToolServer` that a client of either SDK is tested with, in a server of SDK 2. */
export class ToolServer2 extends WaitingServer {
  readonly mcp = new McpServer({ name: 'tools', version: '2.0.0' }, {
    capabilities: { logging: {}, resources: { subscribe: true, listChanged: true } }
  })

  aborted = 0
  closed = 0

  constructor () {
    super()
    this.#addTools()
    this.#addClientTools()
    this.mcp.registerResource('note', NOTE_URI, {}, async () => ({ contents: [{ uri: NOTE_URI, text: 'A note' }] }))
    this.mcp.server.setRequestHandler('resources/subscribe', async () => ({}))
    this.mcp.server.setRequestHandler('resources/unsubscribe', async () => ({}))
    this.mcp.server.onclose = () => { this.closed++ }
  }

  async sample (): Promise<string> {
    const { content } = await this.mcp.server.createMessage({ messages: [{ role: 'user', content: { type: 'text', text: 'Say hello' } }], maxTokens: 10 })
    return content.type === 'text' ? content.text : 'no text'
  }

  #addTools (): void {
    this.mcp.registerTool('echo', { inputSchema: z.object({ text: z.string() }) }, async ({ text }) => toResult(text))
    this.mcp.registerTool('grow', {}, async () => {
      this.mcp.registerTool('grown', {}, async () => toResult('grown'))
      return toResult('ok')
    })
    this.mcp.registerTool('wait', {}, async ({ mcpReq: { signal } }) => {
      signal.addEventListener('abort', () => { this.aborted++ })
      return toResult(await this.#wait())
    })
    this.mcp.registerTool('steps', {}, async ({ mcpReq: { _meta, notify, log } }) => {
      await notify({ method: 'notifications/progress', params: { progressToken: _meta?.progressToken ?? '', progress: 1, total: 2 } })
      await log('info', 'working')
      return toResult(await this.#wait())
    })
    this.mcp.registerTool('poll', {}, async ({ http }) => {
      http?.closeSSE?.()
      return toResult(await this.#wait())
    })
  }

  #addClientTools (): void {
    this.mcp.registerTool('ask', {}, async ({ mcpReq }) => {
      const { action, content } = await mcpReq.elicitInput({
        message: 'Your name?',
        requestedSchema: { type: 'object', properties: { name: { type: 'string' } } }
      })
      return toResult(`${action} ${content?.['name']}`)
    })
    this.mcp.registerTool('roots', {}, async ({ mcpReq }) => {
      const { roots } = await mcpReq.send({ method: 'roots/list' })
      return toResult(roots.map(({ uri }) => uri).join())
    })
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
