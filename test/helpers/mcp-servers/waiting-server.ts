import type { Deferred } from '../waiting/deferred.js'

export const NOTE_URI = 'note://1'

interface Speaker {
  sendResourceUpdated (params: { uri: string }): Promise<void>
  sendLoggingMessage (params: { level: 'info', data: string }): Promise<void>
}

/** What the tool servers of both SDKs have in common: they answer and speak when a test asks for it. */
export abstract class WaitingServer {
  abstract readonly mcp: {
    readonly server: Speaker
    registerTool (name: string, config: object, run: () => Promise<{ content: never[] }>): unknown
  }

  /** Calls that have come and wait, in their order. Resolve one, and it is answered. */
  readonly waiting: Deferred<string>[] = []

  /** Registers a tool that takes nothing and says nothing. */
  addTool (name: string, run = (): void => {}): void {
    this.mcp.registerTool(name, {}, async () => {
      run()
      return { content: [] }
    })
  }

  answer (text: string): void {
    const next = this.waiting.shift()
    if (next === undefined) throw new Error('No call is waiting')
    next.resolve(text)
  }

  async noteHasChanged (): Promise<void> {
    await this.mcp.server.sendResourceUpdated({ uri: NOTE_URI })
  }

  /** Says something that is not part of a call. */
  async say (data: string): Promise<void> {
    await this.mcp.server.sendLoggingMessage({ level: 'info', data })
  }
}
