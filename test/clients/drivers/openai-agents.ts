import { MCPServerStreamableHttp } from '@openai/agents'
import { drive } from './drive.js'

drive(async (url) => {
  const server = new MCPServerStreamableHttp({ url, name: 'tools' })
  await server.connect()
  return {
    list: async () => (await server.listTools()).map(({ name }) => name),
    async call (name, args) {
      const [first] = await server.callTool(name, args)
      return String(Object(first).text)
    },
    close: () => server.close()
  }
})
