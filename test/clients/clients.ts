// What clients do, as the tests here have seen it. The table in docs/eras.md is made of this.

/** What is seen of a client that uses an endpoint and is closed. */
export interface Behaviour {
  readonly era: 'session' | 'modern'
  /** Asks `server/discover` before anything else. */
  readonly probes: boolean
  /** Hands on to its caller what a call says on the way. */
  readonly progress: boolean
  /** Lets a server ask its user, when it is told how. */
  readonly elicits: boolean
  /** Sends DELETE when it is closed while its session lives. */
  readonly deletes: boolean
}

/** Which call goes through after the session of a client has gone. */
export type ComesBack = 'first call' | 'second call' | 'never' | 'a session for each command'

export interface ClientCase {
  /** As the documentation calls it. */
  readonly title: string
  /** By which it is chosen on the command line. */
  readonly group: string
  /** In drivers. */
  readonly driver: string
  readonly options: readonly string[]
  /** At an endpoint without `modern`; null: it cannot connect. */
  readonly plain: Behaviour | null
  /** At one with `modern: true`. */
  readonly modern: Behaviour
  readonly comesBack: ComesBack
}

const SESSION: Behaviour = { era: 'session', probes: false, progress: true, elicits: true, deletes: false }
const MODERN: Behaviour = { era: 'modern', probes: true, progress: true, elicits: true, deletes: false }

export const CLIENTS: readonly ClientCase[] = [
  define('SDK 1, 1.10', 'sdk', 'sdk-1', ['sdk-1.10'], { ...SESSION, elicits: false }),
  define('SDK 1, 1.32', 'sdk', 'sdk-1', ['sdk-1.32'], SESSION),
  define('SDK 2, `legacy`', 'sdk', 'sdk-2', ['legacy'], SESSION),
  define('SDK 2, `auto`', 'sdk', 'sdk-2', ['auto'], { ...SESSION, probes: true }, MODERN),
  define('SDK 2, pinned to 2026-07-28', 'sdk', 'sdk-2', ['2026-07-28'], null, MODERN),
  define('`@ai-sdk/mcp` 1', 'ai', 'ai-sdk', ['ai-sdk-mcp-1'], { ...SESSION, progress: false, deletes: true }),
  define('`@ai-sdk/mcp` 2', 'ai', 'ai-sdk', ['ai-sdk-mcp-2'], { ...SESSION, progress: false, probes: true, deletes: true }, { ...MODERN, progress: false }),
  define('`mcp-remote`', 'mcp-remote', 'mcp-remote', [], SESSION, SESSION, 'first call'),
  define('Inspector, `--cli`', 'inspector', 'inspector', [], { ...SESSION, progress: false, elicits: false }, undefined, 'a session for each command'),
  define('SDK 2 in Chromium, over CORS', 'browser', 'browser', [], SESSION),
  define('`@openai/agents`', 'openai', 'openai-agents', [], { ...SESSION, probes: true, progress: false, elicits: false, deletes: true }, { ...MODERN, progress: false, elicits: false }),
  define('`@mastra/mcp` 1', 'mastra', 'mastra', ['mastra-mcp-1'], SESSION, SESSION, 'first call'),
  define('`@mastra/mcp` 2', 'mastra', 'mastra', ['mastra-mcp-2'], { ...SESSION, probes: true }, MODERN, 'first call'),
  define('`@langchain/mcp-adapters`', 'langchain', 'langchain', [], { ...SESSION, elicits: false }),
  define('`mcp-use` 1', 'mcp-use', 'mcp-use/driver', [], { ...SESSION, deletes: true }),
  define('`mcporter`', 'mcporter', 'mcporter', [], { ...SESSION, progress: false, elicits: false }, undefined, 'second call')
]

function define (
  title: string, group: string, driver: string, options: readonly string[],
  plain: Behaviour | null, modern: Behaviour = plain ?? MODERN, comesBack: ComesBack = 'never'
): ClientCase {
  return { title, group, driver, options, plain, modern, comesBack }
}
