import { setTimeout as sleep } from 'node:timers/promises'
import { randomBytes } from 'node:crypto'

import {
  acceptedContent, completable, createMcpHandler, createRequestStateCodec,
  fromJsonSchema, inputRequired, inputResponse, McpServer, ResourceTemplate
} from '@modelcontextprotocol/server'
import type { InputRequests, McpHttpHandler, ServerContext, ServerNotifier } from '@modelcontextprotocol/server'
import { z } from 'zod'

import {
  answer, ARGUMENTS_PROMPT, completionsFor, CONTACT, FAILING_TOOL, FORMS, RESOURCE_PROMPT, RESOURCE_TEMPLATE, RESOURCES,
  SCHEMA_TOOL, SERVER_INFO, STATIC_PROMPTS, STATIC_TOOLS, text, type Form
} from './content.js'

// Every request of 2026-07-28 gets a server of its own, so what a tool wants
// to know in the next round travels through the client, sealed.
interface State { tool: string, round: number }
const states = createRequestStateCodec<State>({ key: randomBytes(32) })

/** What the tools of a server announce. */
export type Announcer = Pick<ServerNotifier, 'toolsChanged' | 'promptsChanged'>

/**
 * An MCP server with everything that the suite asks of any revision, each tool written once: what it asks a client of
 * 2026-07-28 for in another round, SDK 2 asks a client with a session in the middle of the call.
 */
export function createDualServer (announcer: Announcer): McpServer {
  const server = new McpServer(SERVER_INFO, {
    capabilities: {
      logging: {},
      tools: { listChanged: true },
      prompts: { listChanged: true },
      resources: { listChanged: true, subscribe: true },
      completions: {}
    },
    requestState: { verify: states.verify }
  })
  addStaticTools(server)
  addTalkingTools(server)
  addAnnouncingTools(server, announcer)
  addOneRoundTools(server)
  addForms(server)
  addStatefulTools(server)
  addResources(server)
  addPrompts(server)
  return server
}

/** The same for 2026-07-28 alone, behind a handler of SDK 2. */
export function createModernHandler (): McpHttpHandler {
  const handler: McpHttpHandler = createMcpHandler(() => createDualServer(handler.notify), { legacy: 'reject' })
  return handler
}

function addStaticTools (server: McpServer): void {
  for (const { name, description, result } of STATIC_TOOLS) {
    server.registerTool(name, { description }, () => result)
  }
  server.registerTool(FAILING_TOOL.name, { description: FAILING_TOOL.description }, () => {
    throw new Error(FAILING_TOOL.error)
  })
  server.registerTool(SCHEMA_TOOL.name, {
    description: SCHEMA_TOOL.description,
    inputSchema: fromJsonSchema(SCHEMA_TOOL.inputSchema)
  }, (args) => answer(JSON.stringify(args)))
  server.registerTool('test_x_mcp_header', {
    description: 'Takes an argument that is also sent as a header',
    inputSchema: fromJsonSchema<{ region?: string }>({ type: 'object', properties: { region: REGION } })
  }, ({ region }) => answer(`region=${region ?? 'none'}`))
}

const REGION = { type: 'string' as const, 'x-mcp-header': 'Region' }

/** Tools that send something, or let go of their stream, before they answer. */
function addTalkingTools (server: McpServer): void {
  server.registerTool('test_tool_with_progress', { description: 'Reports progress' }, async ({ mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken
    for (const progress of [0, 50, 100]) {
      if (progressToken !== undefined) {
        await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: 100 } })
      }
      await sleep(50)
    }
    return answer('Reported progress')
  })
  server.registerTool('test_logging_tool', { description: 'Logs if the request asks for it' }, async ({ mcpReq }) => {
    await mcpReq.log('info', 'Logged by test_logging_tool')
    return answer('Logged')
  })
  server.registerTool('test_tool_with_logging', { description: 'Logs three times' }, async ({ mcpReq }) => {
    for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await mcpReq.log('info', data)
      await sleep(50)
    }
    return answer('Logged three times')
  })
  server.registerTool('test_reconnection', { description: 'Ends its stream and answers later' }, async ({ http }) => {
    http?.closeSSE?.()
    await sleep(100)
    return answer('Answered after the stream was closed')
  })
}

function addAnnouncingTools (server: McpServer, announcer: Announcer): void {
  server.registerTool('test_trigger_tool_change', { description: 'Announces a change of the tools' }, () => {
    announcer.toolsChanged()
    return answer('Announced')
  })
  server.registerTool('test_trigger_prompt_change', { description: 'Announces a change of the prompts' }, () => {
    announcer.promptsChanged()
    return answer('Announced')
  })
}

const NAME_FORM = inputRequired.elicit({ message: 'What is your name?', requestedSchema: z.object({ name: z.string() }) })
const CAPITAL_QUESTION = sample('What is the capital of France?', 100)

function sample (question: string, maxTokens: number) {
  return inputRequired.createMessage({ messages: [{ role: 'user', content: text(question) }], maxTokens })
}

function askForName ({ mcpReq }: ServerContext) {
  const accepted = acceptedContent(mcpReq.inputResponses, 'user_name', z.object({ name: z.string() }))
  return accepted === undefined
    ? inputRequired({ inputRequests: { user_name: NAME_FORM } })
    : answer(`Hello, ${accepted.name}!`)
}

function askForCapital ({ mcpReq }: ServerContext) {
  const response = inputResponse(mcpReq.inputResponses, 'capital_question')
  return response.kind === 'sampling'
    ? answer(JSON.stringify(response.result.content))
    : inputRequired({ inputRequests: { capital_question: CAPITAL_QUESTION } })
}

function addOneRoundTools (server: McpServer): void {
  server.registerTool('test_streaming_elicitation', { description: 'Needs a user name' }, askForName)
  server.registerTool('test_missing_capability', { description: 'Needs a client that samples' }, askForCapital)
  server.registerTool('test_input_required_result_elicitation', { description: 'Asks for a name' }, askForName)
  server.registerTool('test_input_required_result_sampling', { description: 'Asks for a capital' }, askForCapital)
  server.registerTool('test_input_required_result_list_roots', { description: 'Asks for the roots' }, ({ mcpReq }) => {
    const response = inputResponse(mcpReq.inputResponses, 'client_roots')
    return response.kind === 'roots'
      ? answer(response.roots.map(({ uri }) => uri).join(', '))
      : inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } })
  })
  server.registerTool('test_input_required_result_capabilities', { description: 'Asks what the client can answer' }, () => {
    const capabilities = server.server.getClientCapabilities() ?? {}
    const inputRequests: InputRequests = {}
    if (capabilities.elicitation !== undefined) inputRequests['user_name'] = NAME_FORM
    if (capabilities.sampling !== undefined) inputRequests['capital_question'] = CAPITAL_QUESTION
    return inputRequired({ inputRequests })
  })
}

/** The tools that ask a client with a session in the middle of their call. */
function addForms (server: McpServer): void {
  server.registerTool('test_sampling', {
    description: 'Asks the client to sample',
    inputSchema: z.object({ prompt: z.string() })
  }, ({ prompt }, { mcpReq }) => {
    const response = inputResponse(mcpReq.inputResponses, 'completion')
    if (response.kind !== 'sampling') return inputRequired({ inputRequests: { completion: sample(prompt, 100) } })
    const { content } = response.result
    return answer(`LLM response: ${'text' in content ? content.text : JSON.stringify(content)}`)
  })
  server.registerTool('test_elicitation', {
    description: 'Asks the user for a name and an address',
    inputSchema: z.object({ message: z.string() })
  }, ({ message }, { mcpReq }) => fillIn(mcpReq, message, CONTACT, 'User response'))
  for (const [name, form] of Object.entries(FORMS)) {
    server.registerTool(name, { description: 'Asks the user to fill in a form' }, ({ mcpReq }) =>
      fillIn(mcpReq, 'Please fill in the form', form, 'Elicitation completed'))
  }
}

function fillIn (mcpReq: ServerContext['mcpReq'], message: string, requestedSchema: Form, said: string) {
  const response = inputResponse(mcpReq.inputResponses, 'form')
  if (response.kind !== 'elicit') return inputRequired({ inputRequests: { form: inputRequired.elicit({ message, requestedSchema }) } })
  return answer(`${said}: action=${response.action}, content=${JSON.stringify(response.content ?? {})}`)
}

/** Asks round after round, and answers once the last one is through. */
function addRounds (server: McpServer, name: string, rounds: InputRequests[], done: string): void {
  server.registerTool(name, { description: `Asks in ${rounds.length} round(s)` }, async ({ mcpReq }) => {
    const state = mcpReq.requestState<State>()
    const asked = state?.tool === name ? state.round : 0
    const answered = asked > 0 && Object.keys(rounds[asked - 1] ?? {}).every((key) => mcpReq.inputResponses?.[key] !== undefined)
    const round = answered ? asked : Math.max(asked - 1, 0)
    const inputRequests = rounds[round]
    if (inputRequests === undefined) return answer(done)
    return inputRequired({ inputRequests, requestState: await states.mint({ tool: name, round: round + 1 }) })
  })
}

function addStatefulTools (server: McpServer): void {
  const confirm = inputRequired.elicit({ message: 'Please confirm', requestedSchema: z.object({ ok: z.boolean() }) })
  addRounds(server, 'test_input_required_result_request_state', [{ confirm }], 'state-ok')
  addRounds(server, 'test_input_required_result_tampered_state', [{ confirm }], 'Confirmed')
  addRounds(server, 'test_input_required_result_multiple_inputs', [{
    user_name: NAME_FORM,
    greeting: sample('Generate a greeting', 50),
    client_roots: inputRequired.listRoots()
  }], 'All answered')
  addRounds(server, 'test_input_required_result_multi_round', [
    { step1: inputRequired.elicit({ message: 'Step 1: What is your name?', requestedSchema: z.object({ name: z.string() }) }) },
    { step2: inputRequired.elicit({ message: 'Step 2: What is your favorite color?', requestedSchema: z.object({ color: z.string() }) }) }
  ], 'Both steps answered')
}

function addResources (server: McpServer): void {
  // Who has subscribed is known to the session, and on 2026-07-28 to SDK 2.
  server.server.setRequestHandler('resources/subscribe', () => ({}))
  server.server.setRequestHandler('resources/unsubscribe', () => ({}))
  for (const { name, uri, description, mimeType, contents } of RESOURCES) {
    server.registerResource(name, uri, { description, mimeType }, () => ({ contents: [{ uri, mimeType, ...contents }] }))
  }
  const { name, uriTemplate, description, mimeType, contents } = RESOURCE_TEMPLATE
  server.registerResource(name, new ResourceTemplate(uriTemplate, { list: undefined }), { description, mimeType },
    (uri, { id }) => contents(uri.href, String(id)))
}

function addPrompts (server: McpServer): void {
  for (const { name, description, result } of STATIC_PROMPTS) {
    server.registerPrompt(name, { description }, () => result)
  }
  server.registerPrompt(ARGUMENTS_PROMPT.name, {
    description: ARGUMENTS_PROMPT.description,
    argsSchema: z.object({ arg1: completable(z.string(), completionsFor), arg2: z.string() })
  }, ({ arg1, arg2 }) => ARGUMENTS_PROMPT.result(arg1, arg2))
  server.registerPrompt(RESOURCE_PROMPT.name, {
    description: RESOURCE_PROMPT.description,
    argsSchema: z.object({ resourceUri: z.string() })
  }, ({ resourceUri }) => RESOURCE_PROMPT.result(resourceUri))
  server.registerPrompt('test_input_required_result_prompt', {
    description: 'Asks for its context',
    argsSchema: z.object({})
  }, (_args, { mcpReq }) => {
    const schema = z.object({ context: z.string() })
    const accepted = acceptedContent(mcpReq.inputResponses, 'user_context', schema)
    return accepted === undefined
      ? inputRequired({
        inputRequests: {
          user_context: inputRequired.elicit({ message: 'What context should the prompt use?', requestedSchema: schema })
        }
      })
      : { messages: [{ role: 'user', content: text(`Context: ${accepted.context}`) }] }
  })
}
