import type { MCPClient as Mastra } from 'mastra-mcp-2'
import { drive, ELICITED, readText } from './drive.js'

drive(async (url, [name = '']) => {
  const { MCPClient }: { MCPClient: typeof Mastra } = await import(name)
  // Version 1 is told afterwards what its user says, version 2 at once.
  const asked = { capabilities: { elicitation: {} }, ...(name === 'mastra-mcp-2' && { inputRequests: async () => ({ ...ELICITED }) }) }
  const client = new MCPClient({ id: 'test', servers: { s: { url: new URL(url), enableProgressTracking: true, ...asked } } })
  let heard = (): void => {}
  await client.progress.onUpdate('s', () => heard())
  if ('elicitation' in client) await Object(client.elicitation).onRequest('s', async () => ({ ...ELICITED }))
  const tools = await client.listTools()
  return {
    list: async () => Object.keys(await client.listTools()).map((name) => name.replace('s_', '')),
    async call (name, args, onProgress) {
      heard = onProgress
      const tool = tools[`s_${name}`]
      if (tool?.execute === undefined) throw new Error(`There is no tool ${name}`)
      return readText(await tool.execute(args, {}))
    },
    close: () => client.disconnect()
  }
})
