import type { createMCPClient as CreateClient } from 'ai-sdk-mcp-2'
import { drive, ELICITED, readText } from './drive.js'

drive(async (url, [name = '']) => {
  const { createMCPClient, ElicitationRequestSchema }: { createMCPClient: typeof CreateClient, ElicitationRequestSchema: Parameters<Awaited<ReturnType<typeof CreateClient>>['onElicitationRequest']>[0] } = await import(name)
  const client = await createMCPClient({ transport: { type: 'http', url }, capabilities: { elicitation: {} } })
  client.onElicitationRequest(ElicitationRequestSchema, () => ({ ...ELICITED }))
  return {
    list: async () => (await client.listTools()).tools.map(({ name }) => name),
    // What `tools()` hands to a model.
    async call (name, args) {
      const tool = (await client.tools())[name]
      if (tool === undefined) throw new Error(`There is no tool ${name}`)
      return readText(await tool.execute(args, { toolCallId: '1', messages: [], context: {} }))
    },
    close: () => client.close()
  }
})
