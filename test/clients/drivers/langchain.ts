import { MultiServerMCPClient } from '@langchain/mcp-adapters'
import { drive } from './drive.js'

drive(async (url) => {
  let heard = (): void => {}
  const client = new MultiServerMCPClient({ mcpServers: { s: { url, transport: 'http' } }, onProgress: () => heard() })
  const tools = await client.getTools()
  return {
    list: async () => (await client.getTools()).map(({ name }) => name),
    async call (name, args, onProgress) {
      heard = onProgress
      const tool = tools.find((tool) => tool.name === name)
      if (tool === undefined) throw new Error(`There is no tool ${name}`)
      return String(await tool.invoke(args))
    },
    close: () => client.close()
  }
})
