// What runs in the browser, see browser.ts.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'

/** Tells the driver. */
declare function heardProgress (): Promise<void>

const client = new Client({ name: 'browser', version: '1.0.0' }, { capabilities: { elicitation: { form: {} } } })
client.setRequestHandler('elicitation/create', async () => ({ action: 'accept', content: { name: 'Ada' } }))

async function connect (url: string): Promise<void> {
  await client.connect(new StreamableHTTPClientTransport(new URL(url)))
}

async function list (): Promise<string[]> {
  const { tools } = await client.listTools()
  return tools.map(({ name }) => name)
}

async function call (name: string, args: Record<string, unknown>): Promise<string> {
  const { content: [first] } = await client.callTool({ name, arguments: args }, { onprogress: heardProgress })
  return first?.type === 'text' ? first.text : ''
}

async function close (): Promise<void> {
  await client.close()
}

Object.assign(globalThis, { mcp: { connect, list, call, close } })
