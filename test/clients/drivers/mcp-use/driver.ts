import { MCPClient } from 'mcp-use/client'
import { drive, ELICITED, readText } from '../drive.js'

drive(async (url) => {
  const client = new MCPClient({ mcpServers: { s: { url } } }, { onElicitation: async () => ({ ...ELICITED }) })
  const session = await client.createSession('s')
  return {
    list: async () => (await session.listTools()).map(({ name }) => name),
    call: async (name, args, onProgress) => readText(await session.callTool(name, args, { onprogress: onProgress })),
    close: () => client.closeAllSessions()
  }
})
