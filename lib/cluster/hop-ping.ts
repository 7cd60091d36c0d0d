import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'
import { startPatience } from '../base/patience.js'
import { parseReport, type HopReport } from './hop-report.js'
import { ANSWER_HEADER, HOPS_HEADER, readAnswer } from './hop-signature.js'

type Controller = Dispatcher.DispatchController

export interface HopPingOptions {
  /** What the node's answer has to bring. */
  readonly proof: string
  /** How long to wait for it, in milliseconds. */
  readonly patience: number
  /** Called once: with what the node says of the hops, with why it has not answered, or with undefined when it could not be asked. */
  readonly onOver: (outcome: HopReport | Error | undefined) => void
}

/** A question to another node: whether it is there, and what has become of hops to it. */
export class HopPing implements Dispatcher.DispatchHandler {
  readonly #proof: string
  readonly #onOver: HopPingOptions['onOver']
  readonly #endPatience: () => void
  #controller: Controller | undefined
  #isQueued = false
  #isOver = false

  constructor ({ proof, patience, onOver }: HopPingOptions) {
    this.#proof = proof
    this.#onOver = onOver
    this.#endPatience = startPatience(patience, () => this.cut(new Error(`The node has not answered within ${patience} ms`)))
  }

  /** Is told that the question waits in the dispatcher, which has no connection to spare: that says nothing about the node. */
  queue (): void {
    this.#isQueued = this.#controller === undefined
  }

  cut (reason: Error): void {
    this.#end(this.#isQueued && this.#controller === undefined ? undefined : reason)
    this.#controller?.abort(reason)
  }

  onRequestStart (controller: Controller): void {
    this.#controller = controller
    if (this.#isOver) controller.abort(new Error('The answer is not wanted any more'))
  }

  onResponseStart (_controller: Controller, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return
    const state = readAnswer(headers[ANSWER_HEADER], this.#proof)
    if (state === 'served') this.#end(parseReport(String(headers[HOPS_HEADER])))
    else this.#end(new Error(`What answers there is another: it says ${status}`))
  }

  // All that counts is in the head, whatever the app of that node answers.
  onResponseData (): void {}

  onResponseEnd (): void {}

  onResponseError (_controller: Controller | undefined, error: Error): void {
    this.#end(error)
  }

  #end (outcome: HopReport | Error | undefined): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#endPatience()
    this.#onOver(outcome)
  }
}
