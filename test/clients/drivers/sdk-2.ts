import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { drive, ELICITED, readText } from './drive.js'

drive(async (url, [mode = '']) => {
  const client = new Client({ name: 'test', version: '1.0.0' }, {
    capabilities: { elicitation: { form: {} } },
    versionNegotiation: { mode: mode === 'legacy' || mode === 'auto' ? mode : { pin: mode } }
  })
  client.setRequestHandler('elicitation/create', async () => ELICITED)
  await client.connect(new StreamableHTTPClientTransport(new URL(url)))
  return {
    list: async () => (await client.listTools()).tools.map(({ name }) => name),
    call: async (name, args, onProgress) => readText(await client.callTool({ name, arguments: args }, { onprogress: onProgress })),
    close: () => client.close()
  }
})
