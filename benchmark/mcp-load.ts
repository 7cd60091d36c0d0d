import type { Answer, Connection } from './connection.js'
import { Load } from './load.js'

const VERSION = '2025-11-25'
const MODERN = '2026-07-28'

/** A call, and what its answer has to have in it. */
export interface Tool {
  readonly name: string
  /** As JSON. */
  readonly args: string
  readonly expected: readonly string[]
}

/**
 * Clients of an MCP endpoint. Their requests have the headers that the SDK's client sends under Node.js, and every
 * answer is looked at: a server that is fast because it does not do its work would end the benchmark.
 */
export class McpLoad {
  readonly #load: Load
  readonly #path: string
  readonly #headers: string
  #lastId = 0

  private constructor (load: Load, { pathname, host }: URL, headers: string) {
    this.#load = load
    this.#path = pathname
    this.#headers = ` HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\naccept: application/json, text/event-stream\r\naccept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\naccept-encoding: gzip, deflate\r\n${headers}`
  }

  /** @param headers more of them, each with its end of line */
  static async open (url: string, connections?: number, headers = ''): Promise<McpLoad> {
    return new McpLoad(await Load.open(url, connections), new URL(url), headers)
  }

  /** Opens so many sessions, and returns their ids. */
  async openMany (count: number): Promise<string[]> {
    const ids: string[] = []
    await this.#load.run(count, async (connection) => {
      const id = await this.#initialize(connection)
      if (id !== undefined) ids.push(id)
    })
    return ids
  }

  /** So many calls for these sessions in turn, by default of `greet`. Returns the content type of the last answer. */
  async callMany (ids: readonly string[], count: number, toolOf?: (index: number) => Tool): Promise<string> {
    let type = ''
    await this.#load.run(count, async (connection, index) => { type = await this.#call(connection, pick(ids, index), toolOf?.(index)) })
    return type
  }

  /** So many calls of a client of 2026-07-28. Returns the content type of the last answer. */
  async callModern (count: number): Promise<string> {
    let type = ''
    await this.#load.run(count, async (connection) => {
      const { name, args, expected } = greet(++this.#lastId)
      type = await this.#sendModern(connection, 'tools/call', `"name":"${name}","arguments":${args},`, [...expected], `mcp-name: ${name}\r\n`)
    })
    return type
  }

  /** So many `tools/list` of a client of 2026-07-28 at a server whose last tool has this name. */
  async listModern (count: number, last: string): Promise<void> {
    await this.#load.run(count, async (connection) => {
      this.#lastId++
      await this.#sendModern(connection, 'tools/list', '', [`"name":"${last}"`])
    })
  }

  /** So many calls, one after the other: the milliseconds that each has taken. */
  timeCalls (ids: readonly string[], count: number): Promise<number[]> {
    return this.#load.time(count, async (connection, index) => { await this.#call(connection, pick(ids, index)) })
  }

  /**
   * So many sessions from beginning to end, with one call each: by default of `greet`. With a server that keeps no
   * sessions, as its clients do it, all but the DELETE.
   */
  liveMany (count: number, toolOf?: (index: number) => Tool): Promise<void> {
    return this.#load.run(count, async (connection, index) => {
      const id = await this.#initialize(connection, toolOf === undefined)
      const initialized = await connection.send(this.#post(id, '{"jsonrpc":"2.0","method":"notifications/initialized"}'))
      expect(initialized, 202)
      await this.#call(connection, id, toolOf?.(index))
      if (id !== undefined) await this.#delete(connection, id)
    })
  }

  /** Ends sessions. */
  closeMany (ids: readonly string[]): Promise<void> {
    return this.#load.run(ids.length, (connection, index) => this.#delete(connection, pick(ids, index)))
  }

  /** So many sessions are opened, or not. Returns how often the server has answered with which status. */
  async tryToOpen (count: number): Promise<Record<number, number>> {
    const statuses: Record<number, number> = {}
    await this.#load.run(count, async (connection) => {
      const { status } = await connection.send(this.#post(undefined, openingOf(++this.#lastId)))
      statuses[status] = (statuses[status] ?? 0) + 1
    })
    return statuses
  }

  close (): void {
    this.#load.close()
  }

  async #initialize (connection: Connection, isSession = true): Promise<string | undefined> {
    const id = ++this.#lastId
    const answer = await connection.send(this.#post(undefined, openingOf(id)))
    expect(answer, 200, `"id":${id}`, `"protocolVersion":"${VERSION}"`)
    const session = /\r\nmcp-session-id: (\S+)/i.exec(answer.head)?.[1]
    if (session === undefined && isSession) throw new Error(`No session id in ${answer.head}`)
    return session
  }

  async #call (connection: Connection, session: string | undefined, tool?: Tool): Promise<string> {
    const id = ++this.#lastId
    const { name, args, expected } = tool ?? greet(id)
    const answer = await connection.send(this.#post(session, `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"${name}","arguments":${args}}}`))
    expect(answer, 200, `"id":${id}`, ...expected)
    return readType(answer)
  }

  async #delete (connection: Connection, session: string): Promise<void> {
    const deleted = await connection.send(`DELETE ${this.#path}${this.#headers}${sessionHeaders(session)}\r\n`)
    if (deleted.status !== 204) expect(deleted, 200)
  }

  async #sendModern (connection: Connection, method: string, params: string, expected: readonly string[], headers = ''): Promise<string> {
    const id = this.#lastId
    const body = `{"jsonrpc":"2.0","id":${id},"method":"${method}","params":{${params}"_meta":{"io.modelcontextprotocol/protocolVersion":"${MODERN}","io.modelcontextprotocol/clientInfo":{"name":"benchmark","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`
    const answer = await connection.send(`POST ${this.#path}${this.#headers}mcp-protocol-version: ${MODERN}\r\nmcp-method: ${method}\r\n${headers}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
    expect(answer, 200, `"id":${id}`, ...expected)
    return readType(answer)
  }

  #post (session: string | undefined, body: string): string {
    const headers = session === undefined ? '' : sessionHeaders(session)
    return `POST ${this.#path}${this.#headers}${headers}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
  }
}

function openingOf (id: number): string {
  return `{"jsonrpc":"2.0","id":${id},"method":"initialize","params":{"protocolVersion":"${VERSION}","capabilities":{},"clientInfo":{"name":"benchmark","version":"1"}}}`
}

function greet (id: number): Tool {
  return { name: 'greet', args: `{"name":"number ${id}"}`, expected: [`"text":"Hello, number ${id}"`] }
}

function sessionHeaders (id: string): string {
  return `mcp-session-id: ${id}\r\nmcp-protocol-version: ${VERSION}\r\n`
}

function readType ({ head }: Answer): string {
  return /\r\ncontent-type: ([^;\r]+)/i.exec(head)?.[1] ?? 'nothing'
}

function pick (ids: readonly string[], index: number): string {
  return ids[index % ids.length] ?? ''
}

function expect (answer: Answer, status: number, ...parts: string[]): void {
  if (answer.status === status && parts.every((part) => answer.body.includes(part))) return
  throw new Error(`Not the answer that was expected:\n${answer.head}\n\n${answer.body}`)
}
