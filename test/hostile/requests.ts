import type { Random } from '../helpers/chance/random.js'

/** What a hostile client does on a connection of its own. */
export interface Attack {
  /** Bytes that are sent, piece by piece. */
  readonly pieces: readonly string[]
  /** Whether the client goes away before it has an answer. */
  readonly vanishes: boolean
}

const METHODS = ['POST', 'POST', 'POST', 'POST', 'GET', 'DELETE', 'PUT', 'HEAD', 'OPTIONS', 'PATCH', 'BREW']
const PATHS = ['/mcp', '/mcp', '/mcp', '/json', '/cart', '/mcp?x=%00', '/mcp/..', '/%6dcp', '//mcp', '/mcp#', '*']
const ACCEPTS = ['application/json, text/event-stream', 'application/json, text/event-stream', 'application/json', 'text/event-stream', '*/*', 'text/*;q=0, */*', 'image/png', ',;,;q=', 'a'.repeat(5000)]
const TYPES = ['application/json', 'application/json', 'application/json', 'APPLICATION/JSON; charset=latin1', 'text/plain', 'application/x-www-form-urlencoded', '', 'application/json/json']
const REVISIONS = ['2025-11-25', '2025-11-25', '2025-03-26', '2026-07-28', '1999-01-01', '__proto__', '2025-11-25, 2025-11-25', 'ÿ']
const HOSTS = ['127.0.0.1', 'localhost', 'evil.example', 'a:b@localhost', '[::1]', '127.0.0.1:99999', '']
const ORIGINS = ['http://localhost', 'https://evil.example', 'null', 'file://', '::']
const EVENT_IDS = ['1', '-1', '__proto__', 'aaaaaaaa-1/get', '9'.repeat(400), '1-1/get', '%00']
const METHOD_NAMES = ['initialize', 'tools/call', 'tools/list', 'ping', 'resources/subscribe', 'logging/setLevel', 'completion/complete', 'notifications/cancelled', 'notifications/initialized', 'notifications/progress', 'subscriptions/listen', 'server/discover', '__proto__', '', 'x'.repeat(1000)]
const TOOLS = ['echo', 'big', 'report', 'end', 'wait', 'tell', 'ask', 'sample', 'grow', 'constructor', '']

const OPENING = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'x', version: '1' } } })
const GOOD = `POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*\r\ncontent-type: application/json\r\ncontent-length: ${OPENING.length}\r\n\r\n${OPENING}`

/** One of endlessly many requests that no client should send, and some that one should. */
export function createAttack (random: Random, sessions: readonly string[]): Attack {
  const pick = <T>(values: readonly T[]): T => choose(random, values)
  const chance = (percent: number): boolean => random.below(100) < percent

  function id (): unknown {
    return pick([random.below(5), 'a', -1, 1.5, null, {}, [], 2 ** 60, 'x'.repeat(2000), '__proto__', undefined])
  }

  function params (): unknown {
    return pick([
      undefined, null, [], 'x', {},
      { name: pick(TOOLS), arguments: pick([{}, { text: 'x' }, { bytes: random.below(100_000) }, { bytes: 'x' }, null, { text: { __proto__: 1 } }]), _meta: pick([undefined, { progressToken: id() }, null, 'x']) },
      { requestId: id(), reason: pick(['x', 1]) }, { uri: pick(['note://1', 'x'.repeat(5000), 1]) }, { level: pick(['debug', 'loud']) },
      initializeParams()
    ])
  }

  function initializeParams (): object {
    return {
      protocolVersion: pick(['2025-11-25', '2025-03-26', '2026-07-28', 1, '']),
      capabilities: pick<unknown>([{}, { roots: {} }, { elicitation: {}, sampling: {} }, null, []]),
      clientInfo: pick<unknown>([{ name: 'x', version: '1' }, { name: 1 }, {}, null, { name: 'x'.repeat(20_000), version: '' }])
    }
  }

  function message (): unknown {
    return pick<unknown>([
      { jsonrpc: '2.0', id: random.below(5), method: 'tools/call', params: { name: pick(TOOLS), arguments: { text: 'x', bytes: random.below(300_000) } } },
      { jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'x', version: '1' } } },
      { jsonrpc: pick(['2.0', '1.0', 2]), id: id(), method: pick<unknown>([...METHOD_NAMES, 1, null]), params: params() },
      { jsonrpc: '2.0', method: pick(METHOD_NAMES), params: params() },
      { jsonrpc: '2.0', id: id(), result: params() },
      { jsonrpc: '2.0', id: id(), error: pick<unknown>([{ code: 1, message: 'x' }, 'x', null]) },
      null, 1, 'x', [], {}
    ])
  }

  function body (): string {
    const json = JSON.stringify(chance(15) ? Array.from({ length: random.below(120) }, message) : message()) ?? ''
    return pick([json, json, json, json.slice(0, random.below(json.length + 1)), '{"__proto__":1}', '['.repeat(5000), '\u0000', '', ' '.repeat(70_000), json + json])
  }

  function headers (length: number): string[] {
    const lines = [`host: ${chance(90) ? '127.0.0.1' : pick(HOSTS)}`, `accept: ${pick(ACCEPTS)}`]
    const type = pick(TYPES)
    if (type !== '') lines.push(`content-type: ${type}`)
    if (chance(70)) lines.push(`mcp-session-id: ${sessionId()}`)
    if (chance(3)) lines.push(`mcp-session-id: ${sessionId()}`)
    if (chance(40)) lines.push(`mcp-protocol-version: ${pick(REVISIONS)}`)
    if (chance(10)) lines.push(`origin: ${pick(ORIGINS)}`)
    if (chance(20)) lines.push(`last-event-id: ${pick(EVENT_IDS)}`)
    if (chance(5)) lines.push('expect: 100-continue')
    if (chance(3)) lines.push('mcp-session-forwarded: x')
    lines.push(chance(93) ? `content-length: ${length}` : pick(['transfer-encoding: chunked', 'content-length: -1', 'content-length: 9999999', 'content-length: 1']))
    return lines
  }

  function sessionId (): string {
    return chance(85) && sessions.length > 0 ? pick(sessions) : pick(['x', 'x'.repeat(300), '__proto__', '\u0001', 'a b', 'ÿ', ''])
  }

  function request (): string {
    if (chance(8)) return GOOD
    const text = body()
    const version = pick(['1.1', '1.1', '1.1', '1.1', '1.0', '9.9'])
    const head = [`${pick(METHODS)} ${pick(PATHS)} HTTP/${version}`, ...headers(Buffer.byteLength(text))]
    return `${head.join('\r\n')}\r\n\r\n${text}`
  }

  const text = Array.from({ length: chance(90) ? 1 : 1 + random.below(5) }, request).join('')
  const cut = random.below(text.length)
  return { pieces: chance(80) ? [text] : [text.slice(0, cut), text.slice(cut)], vanishes: chance(10) }
}

// Undefined may be one of the values.
function choose<T> (random: Random, values: readonly T[]): T {
  const [chosen] = values.slice(random.below(values.length)).map((value) => ({ value }))
  if (chosen === undefined) throw new Error('There is nothing to choose from')
  return chosen.value
}
