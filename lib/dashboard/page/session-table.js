import { byId, write } from './elements.js'
import { SessionRow } from './session-row.js'
import { count } from './text.js'

const EMPTY = 'There are no sessions yet. They appear here as clients connect.'

/** The table of sessions. A row stays the same element for as long as its session is shown. */
export class SessionTable {
  #rows = new Map()
  #body = byId('session-rows')
  #onEnd

  /** @param onEnd is called with a row whose session is to be ended */
  constructor (onEnd) {
    this.#onEnd = onEnd
  }

  show ({ sessions, nodes }) {
    const { total, matching } = sessions
    byId('session-table').classList.toggle('alone', nodes.length === 0)
    const gone = new Set(nodes.filter(({ lease }) => lease === 0).map(({ id }) => id))
    const wanted = sessions.rows.map((session) => this.#rowOf(session, gone.has(session.node)))
    this.#place(wanted.map(({ element }) => element))
    const all = matching === total ? '' : ` (${count.format(total)} in all)`
    write(byId('count'), `showing ${count.format(wanted.length)} of ${count.format(matching)}${all}`)
    byId('nothing').hidden = wanted.length > 0
    write(byId('nothing'), total === 0 ? EMPTY : 'No session matches the search.')
  }

  tick () {
    for (const row of this.#rows.values()) row.tick()
  }

  /** Gives the focus to what ends the session of a row, or to the search when there is no such row. */
  focus (element = this.#body.firstElementChild) {
    const button = element?.querySelector('button:not([hidden])') ?? byId('search')
    button.focus()
  }

  #rowOf (session, isLost) {
    const row = this.#rows.get(session.hash) ?? new SessionRow(session.hash, this.#onEnd)
    this.#rows.set(session.hash, row)
    row.show(session, isLost)
    return row
  }

  /** Brings the rows into their order. The row that has the focus is never moved, for it would lose it. */
  #place (wanted) {
    const held = [...this.#body.children].find((element) => element.contains(document.activeElement))
    const kept = new Set(wanted)
    const next = held === undefined || kept.has(held) ? undefined : nearest(held, kept)
    this.#removeAllBut(kept)
    let at = this.#body.firstElementChild
    for (const element of wanted) {
      if (element === held) while (at !== held) at = this.#putLast(at)
      if (element === at) at = at.nextElementSibling
      else this.#body.insertBefore(element, at)
    }
    if (next !== undefined) this.focus(next)
  }

  #putLast (element) {
    const after = element.nextElementSibling
    this.#body.append(element)
    return after
  }

  #removeAllBut (kept) {
    for (const [hash, { element }] of this.#rows) {
      if (kept.has(element)) continue
      element.remove()
      this.#rows.delete(hash)
    }
  }
}

/** The row that the focus goes to when the one that has it is removed: the next, or the one before, or none. */
function nearest (element, kept) {
  for (let at = element.nextElementSibling; at !== null; at = at.nextElementSibling) if (kept.has(at)) return at
  for (let at = element.previousElementSibling; at !== null; at = at.previousElementSibling) if (kept.has(at)) return at
  return null
}
