// What runs in the browser, see browser.ts.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'

const client = new Client({ name: 'browser', version: '1.0.0' }, { capabilities: { elicitation: { form: {} } } })
client.setRequestHandler('elicitation/create', async () => ({ action: 'accept', content: { name: 'Ada' } }))

async function connect (url: string): Promise<void> {
  await client.connect(new StreamableHTTPClientTransport(new URL(url)))
}

async function list (): Promise<{ text: string, progress: number }> {
  const { tools } = await client.listTools()
  return { text: tools.map(({ name }) => name).join(), progress: 0 }
}

async function call (name: string, args: Record<string, unknown>): Promise<{ text: string, progress: number }> {
  let progress = 0
  const { content: [first] } = await client.callTool({ name, arguments: args }, { onprogress () { progress++ } })
  return { text: first?.type === 'text' ? first.text : '', progress }
}

async function close (): Promise<void> {
  await client.close()
}

Object.assign(globalThis, { mcp: { connect, list, call, close } })
