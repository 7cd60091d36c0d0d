import type { Client as NewestClient } from 'sdk-1.32/client/index.js'
import { drive, ELICITED, readText } from './drive.js'

// Those that have it know what to be asked: a form in the middle of a call.
drive(async (url, [name = '']) => {
  const { Client } = await import(`${name}/client/index.js`)
  const { StreamableHTTPClientTransport } = await import(`${name}/client/streamableHttp.js`)
  const { ElicitRequestSchema } = await import(`${name}/types.js`)
  const canAsk = ElicitRequestSchema !== undefined
  const client: NewestClient = new Client({ name: 'test', version: '1.0.0' }, { capabilities: canAsk ? { elicitation: {} } : {} })
  if (canAsk) client.setRequestHandler(ElicitRequestSchema, async () => ELICITED)
  await client.connect(new StreamableHTTPClientTransport(new URL(url)))
  return {
    list: async () => (await client.listTools()).tools.map(({ name }) => name),
    call: async (name, args, onProgress) => readText(await client.callTool({ name, arguments: args }, undefined, { onprogress: onProgress })),
    close: () => client.close()
  }
})
