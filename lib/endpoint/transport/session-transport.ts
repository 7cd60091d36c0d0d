import {
  WebStandardStreamableHTTPServerTransport, type WebStandardStreamableHTTPServerTransportOptions
} from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js'

/** The SDK's transport, with a last word before it closes, be it by DELETE, by its server or from outside. */
export class SessionTransport extends WebStandardStreamableHTTPServerTransport {
  readonly #beforeClose: () => Promise<void>
  #closing: Promise<void> | undefined

  constructor (options: WebStandardStreamableHTTPServerTransportOptions, beforeClose: () => Promise<void>) {
    super(options)
    this.#beforeClose = beforeClose
  }

  override close (): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close (): Promise<void> {
    await this.#beforeClose()
    await super.close()
  }
}
