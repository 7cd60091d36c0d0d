/** What a reader can paste into a shell to talk to the server at `url`. */
export function connectionHelp (url: string): string {
  const headers = [
    'content-type: application/json',
    'accept: application/json, text/event-stream'
  ].map((header) => `-H '${header}'`).join(' ')
  const initialize = request(1, 'initialize', {
    protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'curl', version: '1' }
  })
  const call = request(2, 'tools/call', { name: 'list_notes', arguments: {} })

  return `
Sessions:     ${url}/
MCP endpoint: ${url}/mcp
  Claude Code:   claude mcp add --transport http notes ${url}/mcp
  Inspector:     npx @modelcontextprotocol/inspector --cli ${url}/mcp --transport http --method tools/list

Or by hand:

SESSION=$(curl -s -D - -o /dev/null ${url}/mcp ${headers} -d '${initialize}' | tr -d '\\r' | sed -n 's/^mcp-session-id: //p')
curl -s -w '\\n' ${url}/mcp ${headers} -H "mcp-session-id: $SESSION" -d '${call}'
curl -s -w '\\n' ${url}/health
curl -s -X DELETE ${url}/mcp -H "mcp-session-id: $SESSION"
`
}

function request (id: number, method: string, params: object): string {
  return JSON.stringify({ jsonrpc: '2.0', id, method, params })
}
