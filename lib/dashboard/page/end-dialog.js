import { byId, make } from './elements.js'
import { say } from './say.js'
import { count, visible } from './text.js'

/** Asks whether a session is to be ended, and ends it. */
export class EndDialog {
  #base
  #row
  #dialog = byId('ending')
  #onEnded
  #onLost

  /** @param ending `onEnded` is called when a session is no longer there, `onLost` when the focus has nowhere to return to */
  constructor ({ base, onEnded, onLost }) {
    this.#base = base
    this.#onEnded = onEnded
    this.#onLost = onLost
    byId('ending-keep').addEventListener('click', () => this.#dialog.close())
    byId('ending-end').addEventListener('click', () => this.#end())
    this.#dialog.addEventListener('close', () => { if (!this.#row.element.isConnected) this.#onLost() })
  }

  ask (row) {
    this.#row = row
    const { hash, client } = row.session
    const whose = client === null ? '' : ` of ${visible(client.name, 40)}`
    const name = make('bdi', { class: 'mono', text: visible(hash) })
    byId('ending-text').replaceChildren('Session ', name, make('bdi', { text: whose }), `${workOf(row.session)}.`)
    this.#dialog.showModal()
  }

  async #end () {
    const { hash } = this.#row.session
    this.#dialog.close()
    const { failed, text } = await requestEnd(new URL(`sessions/${encodeURIComponent(hash)}/end`, this.#base), visible(hash))
    say(text, failed)
    if (!failed) this.#onEnded()
  }
}

function workOf ({ inFlight }) {
  if (inFlight === null) return ', on another node'
  return inFlight === 0 ? ', nothing in flight' : `, ${count.format(inFlight)} in flight`
}

async function requestEnd (url, name) {
  try {
    // A page of another site cannot send this header unless CORS lets it.
    const response = await fetch(url, { method: 'POST', headers: { 'x-mcp-sessions-dashboard': 'end' } })
    if (response.ok) return { failed: false, text: `Session ${name} has been ended.` }
    if (response.status === 404) return { failed: false, text: `Session ${name} had gone already.` }
    const { message = response.statusText } = await response.json().catch(() => ({}))
    return { failed: true, text: `Session ${name} was not ended (HTTP ${response.status}): ${visible(String(message), 300)}` }
  } catch {
    return { failed: true, text: `Session ${name} was perhaps not ended: the server did not answer.` }
  }
}
