import { make, write } from './elements.js'
import { count, duration, inFull, visible } from './text.js'

const CELLS = [
  { name: 'client', label: 'Client', whole: true },
  { name: 'principal', label: 'Principal', whole: true },
  { name: 'age', label: 'Age', number: true },
  { name: 'idle', label: 'Idle', number: true },
  { name: 'inFlight', label: 'In flight', number: true },
  { name: 'streams', label: 'Streams', number: true },
  { name: 'revision', label: 'Revision' },
  { name: 'node', label: 'Node' }
]

/** A row of the table, for as long as its session is shown. */
export class SessionRow {
  session
  #seenAt = 0
  #cells = {}
  #parked = make('span', { class: 'mark', text: 'parked' })
  #end
  #fixed = make('span', { class: 'hidden', text: 'cannot be ended from here' })

  /** @param onEnd is called with the row when its session is to be ended */
  constructor (hash, onEnd) {
    const name = visible(hash)
    this.#end = make('button', { type: 'button', 'aria-label': `End session ${name}`, text: 'End' })
    this.#end.addEventListener('click', () => onEnd(this))
    this.element = make('tr', { role: 'row' },
      make('th', { scope: 'row', role: 'rowheader', class: 'whole' }, make('bdi', { class: 'mono', text: name }), ' ', this.#parked),
      ...CELLS.map((cell) => this.#makeCell(cell)),
      make('td', { role: 'cell', class: 'act' }, this.#end, this.#fixed))
  }

  #makeCell ({ name, label, whole, number }) {
    this.#cells[name] = make('bdi', number ? {} : { class: 'clip' })
    const kinds = [whole && 'whole', number && 'number', name === 'node' && 'of-node'].filter(Boolean)
    return make('td', { role: 'cell', 'data-label': label, class: kinds.join(' ') }, this.#cells[name])
  }

  /** @param isLost whether its node is gone: the next that is asked for it takes it over */
  show (session, isLost) {
    this.session = session
    this.#seenAt = performance.now()
    const { client, principal, revision, node, inFlight, streams, parked, endable } = session
    const { client: clientCell, principal: principalCell } = this.#cells
    writeName(clientCell, client === null ? '(not said)' : `${client.name} ${client.version}`)
    writeName(principalCell, principal ?? '(anonymous)')
    clientCell.classList.toggle('quiet', client === null)
    principalCell.classList.toggle('quiet', principal === null)
    const lost = `${node} is gone: the next node that is asked for this session takes it over`
    writeName(this.#cells.node, isLost ? `✕ ${node}` : node, isLost ? lost : node)
    this.#cells.node.classList.toggle('gone', isLost)
    writeName(this.#cells.revision, revision ?? '–')
    writeCount(this.#cells.inFlight, inFlight)
    writeCount(this.#cells.streams, streams)
    this.#parked.hidden = !parked
    this.#end.hidden = !endable
    this.#fixed.hidden = endable
    this.tick()
  }

  /** Times go on between two messages, so that a quiet server need not send any. */
  tick () {
    const { age, idle, inFlight } = this.session
    const since = performance.now() - this.#seenAt
    write(this.#cells.age, duration(age + since))
    write(this.#cells.idle, duration(inFlight > 0 ? idle : idle + since))
  }
}

function writeName (element, text, more = text) {
  write(element, visible(text))
  explain(element, inFull(more))
}

function writeCount (element, number) {
  write(element, number === null ? '–' : count.format(number))
  explain(element, number === null ? 'Not known: its node has not said it' : '')
}

function explain (element, title) {
  if (element.title !== title) element.title = title
}
