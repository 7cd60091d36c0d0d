import { Agent, request } from 'undici'

const CONNECTIONS = 16

const dispatcher = new Agent({ connections: CONNECTIONS })
const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
const TOOL_CALL = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'greet', arguments: {} } })
const INITIALIZE = JSON.stringify({
  jsonrpc: '2.0',
  id: 0,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'benchmark', version: '1' } }
})

/** Opens a session, and returns its id. */
export async function open (url: string): Promise<string> {
  const response = await request(url, { method: 'POST', headers, body: INITIALIZE, dispatcher })
  await response.body.dump()
  return String(response.headers['mcp-session-id'])
}

export async function openMany (url: string, count: number): Promise<string[]> {
  const ids: string[] = []
  await inParallel(count, async () => { ids.push(await open(url)) })
  return ids
}

export async function call (url: string, id: string | undefined): Promise<void> {
  const response = await request(url, { method: 'POST', headers: { ...headers, 'mcp-session-id': id }, body: TOOL_CALL, dispatcher })
  const text = await response.body.text()
  if (!text.includes('hello')) throw new Error(`${response.statusCode} ${text}`)
}

/** So many calls for these sessions in turn, on all connections. */
export async function callMany (url: string, ids: readonly string[], count: number): Promise<void> {
  await inParallel(count, (index) => call(url, ids[index % ids.length]))
}

/** So many calls, one after the other: the milliseconds that each has taken. */
export async function timeCalls (url: string, ids: readonly string[], count: number): Promise<number[]> {
  const times: number[] = []
  for (let index = 0; index < count; index++) {
    const start = performance.now()
    await call(url, ids[index % ids.length])
    times.push(performance.now() - start)
  }
  return times
}

export async function inParallel (count: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0
  await Promise.all(Array.from({ length: CONNECTIONS }, async () => {
    while (next < count) await work(next++)
  }))
}

export function disconnect (): Promise<void> {
  return dispatcher.close()
}
