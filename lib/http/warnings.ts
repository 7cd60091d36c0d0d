import type { FastifyBaseLogger } from 'fastify'

/** Names a warning, for the option `ignoreWarnings`. */
export type WarningCode =
  | 'FST_WARN_MCP_SESSION_NO_IDENTIFY'
  | 'FST_WARN_MCP_SESSION_IDENTIFY_SILENT'
  | 'FST_WARN_MCP_SESSION_CORS'
  | 'FST_WARN_MCP_SESSION_TTL'
  | 'FST_WARN_MCP_SESSION_CONNECTION_TIMEOUT'
  | 'FST_WARN_MCP_SESSION_WORKERS'
  | 'FST_WARN_MCP_SESSION_TRUST_PROXY'
  | 'FST_WARN_MCP_SESSION_ADVERTISE'
  | 'FST_WARN_MCP_SESSION_REFUSED_WHILE_CLOSING'

/** What an app is warned of: mistakes that can be seen early, and hurt only later. Each text names the fix. */
const texts = {
  FST_WARN_MCP_SESSION_NO_IDENTIFY: (plugin: string) =>
    `${plugin} is registered, but nothing says who is calling: whoever has a session id may use it. Give mcpSessions the option "identify", such as identify: (request) => request.user?.sub`,
  FST_WARN_MCP_SESSION_IDENTIFY_SILENT: (plugin: string, times: string) =>
    `${plugin} is registered, but "identify" has not named anybody in the first ${times} requests, so whoever has a session id may use it. Authenticate in an onRequest hook of the scope that mcpEndpoint is registered in, or verify the token in "identify" itself`,
  FST_WARN_MCP_SESSION_CORS: () =>
    'CORS hides the header mcp-session-id, so web pages cannot go on after initialize. Register @fastify/cors with exposedHeaders: [\'mcp-session-id\'], and with methods: [\'GET\', \'POST\', \'DELETE\']',
  FST_WARN_MCP_SESSION_TTL: (ttl: string, heartbeat: string) =>
    `"ttl" (${ttl} ms) is shorter than "heartbeatInterval" (${heartbeat} ms): a client that has vanished is noticed at a heartbeat, and keeps its session until then. Lower heartbeatInterval, or raise ttl`,
  FST_WARN_MCP_SESSION_CONNECTION_TIMEOUT: (timeout: string, fix: string) =>
    `"connectionTimeout" of Fastify (${timeout} ms) cuts calls and streams that say nothing for so long. ${fix}`,
  FST_WARN_MCP_SESSION_WORKERS: () =>
    'This process is a worker of node:cluster, as those of PM2 in cluster mode are, and its sessions live in it alone: a client whose next request comes to another worker gets 404. Share them with the option "cluster", or run a single worker',
  FST_WARN_MCP_SESSION_TRUST_PROXY: (header: string) =>
    `A request has come with ${header}, but "trustProxy" of Fastify is off: request.ip and request.host are those of the proxy. Behind a proxy, make the app with Fastify({ trustProxy: true }), or name the addresses to trust`,
  FST_WARN_MCP_SESSION_ADVERTISE: (what: string) =>
    `${what}. A loopback address leads to the machine that it is used on: nodes on other machines do not reach this cluster's sessions there. Listen on an address that they reach, or give the option "cluster.advertise" the URL at which they do, such as http://10.0.0.7:3000`,
  FST_WARN_MCP_SESSION_REFUSED_WHILE_CLOSING: () =>
    'While this node hands its sessions over, Fastify answers with 503 what still reaches it, so clients notice each deploy. Make the app with Fastify({ return503OnClosing: false })'
} as const satisfies Readonly<Record<WarningCode, (...facts: string[]) => string>>

export const warningCodes = Object.keys(texts)

/** Says each warning once, unless the app does not want to hear of it. */
export class Warnings {
  readonly #log: FastifyBaseLogger
  readonly #done: Set<string>

  constructor (log: FastifyBaseLogger, ignored: readonly WarningCode[] = []) {
    this.#log = log
    this.#done = new Set(ignored)
  }

  /** Whether the warning has not been said yet, and may be. */
  isOpen (code: WarningCode): boolean {
    return !this.#done.has(code)
  }

  warn<C extends WarningCode> (code: C, ...facts: Parameters<typeof texts[C]>): void {
    if (!this.isOpen(code)) return
    this.#done.add(code)
    const describe: (...facts: string[]) => string = texts[code]
    const text = describe(...facts)
    // An app without a logger has one that writes nothing, and that has no level.
    if (this.#log.level === undefined) process.emitWarning(text, { type: 'McpSessionsWarning', code })
    else this.#log.warn({ code }, text)
  }
}
