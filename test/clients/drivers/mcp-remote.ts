import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { fileURLToPath } from 'node:url'
import { drive, ELICITED, readText } from './drive.js'

const PROXY = fileURLToPath(new URL('../node_modules/mcp-remote/dist/proxy.js', import.meta.url))

// A program that knows stdio only, with mcp-remote between it and the server.
drive(async (url) => {
  const client = new Client({ name: 'test', version: '1.0.0' }, { capabilities: { elicitation: { form: {} } } })
  client.setRequestHandler('elicitation/create', async () => ELICITED)
  const env = Object.fromEntries(Object.entries(process.env).flatMap(([name, value]) => value === undefined ? [] : [[name, value]]))
  await client.connect(new StdioClientTransport({ command: process.execPath, args: [PROXY, url], env, stderr: 'ignore' }))
  return {
    list: async () => (await client.listTools()).tools.map(({ name }) => name),
    call: async (name, args, onProgress) => readText(await client.callTool({ name, arguments: args }, { onprogress: onProgress })),
    close: () => client.close()
  }
})
