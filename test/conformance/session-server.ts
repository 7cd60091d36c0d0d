import { setTimeout as sleep } from 'node:timers/promises'

import { completable } from '@modelcontextprotocol/sdk/server/completable.js'
import { McpServer, ResourceTemplate } from '@modelcontextprotocol/sdk/server/mcp.js'
import { SubscribeRequestSchema, UnsubscribeRequestSchema } from '@modelcontextprotocol/sdk/types.js'
import { z } from 'zod'

import {
  answer, ARGUMENTS_PROMPT, completionsFor, CONTACT, FAILING_TOOL, FORMS, RESOURCE_PROMPT, RESOURCE_TEMPLATE, RESOURCES,
  SCHEMA_TOOL, SERVER_INFO, STATIC_PROMPTS, STATIC_TOOLS, text
} from './content.js'

/** The MCP server of one session, with everything that the suite asks of the revisions up to 2025-11-25. */
export function createConformanceServer (): McpServer {
  const server = new McpServer(SERVER_INFO, {
    capabilities: { logging: {}, resources: { subscribe: true } }
  })
  addStaticTools(server)
  addTalkingTools(server)
  addClientTools(server)
  addResources(server)
  addPrompts(server)
  return server
}

function addStaticTools (server: McpServer): void {
  for (const { name, description, result } of STATIC_TOOLS) {
    server.registerTool(name, { description }, () => result)
  }
  server.registerTool(FAILING_TOOL.name, { description: FAILING_TOOL.description }, () => {
    throw new Error(FAILING_TOOL.error)
  })
  // zod would write a schema of its own; metadata overrides what it writes, key by key.
  const inputSchema = z.looseObject({}).meta(SCHEMA_TOOL.inputSchema)
  server.registerTool(SCHEMA_TOOL.name, { description: SCHEMA_TOOL.description, inputSchema }, (args) =>
    answer(JSON.stringify(args)))
}

/** Tools that send something, or let go of their stream, before they answer. */
function addTalkingTools (server: McpServer): void {
  server.registerTool('test_tool_with_logging', { description: 'Logs three times' }, async ({ sendNotification }) => {
    for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await sendNotification({ method: 'notifications/message', params: { level: 'info', data } })
      await sleep(50)
    }
    return answer('Logged three times')
  })

  server.registerTool('test_tool_with_progress', { description: 'Reports progress' }, async ({ _meta, sendNotification }) => {
    const progressToken = _meta?.progressToken
    for (const progress of [0, 50, 100]) {
      if (progressToken !== undefined) {
        await sendNotification({ method: 'notifications/progress', params: { progressToken, progress, total: 100 } })
      }
      await sleep(50)
    }
    return answer('Reported progress')
  })

  server.registerTool('test_reconnection', { description: 'Ends its stream and answers later' }, async ({ closeSSEStream }) => {
    closeSSEStream?.()
    await sleep(100)
    return answer('Answered after the stream was closed')
  })
}

/** Tools that ask the client something on the stream of their own call. */
function addClientTools (server: McpServer): void {
  server.registerTool('test_sampling', {
    description: 'Asks the client to sample',
    inputSchema: { prompt: z.string() }
  }, async ({ prompt }, { requestId }) => {
    const { content } = await server.server.createMessage({
      messages: [{ role: 'user', content: text(prompt) }],
      maxTokens: 100
    }, { relatedRequestId: requestId })
    return answer(`LLM response: ${content.type === 'text' ? content.text : content.type}`)
  })

  server.registerTool('test_elicitation', {
    description: 'Asks the user for a name and an address',
    inputSchema: { message: z.string() }
  }, async ({ message }, { requestId }) => {
    const { action, content } = await server.server.elicitInput({ message, requestedSchema: CONTACT }, { relatedRequestId: requestId })
    return answer(`User response: action=${action}, content=${JSON.stringify(content ?? {})}`)
  })

  for (const [name, requestedSchema] of Object.entries(FORMS)) {
    server.registerTool(name, { description: 'Asks the user to fill in a form' }, async ({ requestId }) => {
      const { action, content } = await server.server.elicitInput(
        { message: 'Please fill in the form', requestedSchema }, { relatedRequestId: requestId })
      return answer(`Elicitation completed: action=${action}, content=${JSON.stringify(content ?? {})}`)
    })
  }
}

function addResources (server: McpServer): void {
  for (const { name, uri, description, mimeType, contents } of RESOURCES) {
    server.registerResource(name, uri, { description, mimeType }, () => ({ contents: [{ uri, mimeType, ...contents }] }))
  }
  const { name, uriTemplate, description, mimeType, contents } = RESOURCE_TEMPLATE
  server.registerResource(name, new ResourceTemplate(uriTemplate, { list: undefined }), { description, mimeType },
    (uri, { id }) => contents(uri.href, String(id)))

  const subscriptions = new Set<string>()
  server.server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
    subscriptions.add(params.uri)
    return {}
  })
  server.server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => {
    subscriptions.delete(params.uri)
    return {}
  })
}

function addPrompts (server: McpServer): void {
  for (const { name, description, result } of STATIC_PROMPTS) {
    server.registerPrompt(name, { description }, () => result)
  }
  server.registerPrompt(ARGUMENTS_PROMPT.name, {
    description: ARGUMENTS_PROMPT.description,
    argsSchema: { arg1: completable(z.string(), completionsFor), arg2: z.string() }
  }, ({ arg1, arg2 }) => ARGUMENTS_PROMPT.result(arg1, arg2))
  server.registerPrompt(RESOURCE_PROMPT.name, {
    description: RESOURCE_PROMPT.description,
    argsSchema: { resourceUri: z.string() }
  }, ({ resourceUri }) => RESOURCE_PROMPT.result(resourceUri))
}
