import type { McpServer, Server } from '@modelcontextprotocol/server'
import { asError } from '../../base/safe-call.js'

/**
 * Ends the call of a server whose answer is not JSON, such as one that holds a BigInt. SDK 2 tells `onerror` of the server that
 * it could not be written, and goes on waiting for it.
 */
export function endWhenUnwritable (server: McpServer | Server, onFailure: (error: Error) => void): void {
  const connect = server.connect.bind(server)
  server.connect = async (transport) => {
    const send = transport.send.bind(transport)
    transport.send = async (message, options) => {
      try {
        await send(message, options)
      } catch (reason) {
        // A message on the way is for its tool to look after.
        if ('method' in message) throw reason
        const error = asError(reason)
        onFailure(new Error(`The answer is not JSON: ${error.message}`, { cause: error }))
        await transport.close()
      }
    }
    await connect(transport)
  }
}
