import { byId, write } from './elements.js'
import { clock } from './text.js'

// All times are milliseconds.
const FIRST_WAIT = 1000
const LONGEST_WAIT = 30_000
// A quiet server sends nothing that a page can see. After this time it is asked, so that a dead connection is noticed.
const QUIET = 20_000
// How long an answer may take.
const NO_ANSWER = 10_000
// A stream that ends sooner has not held: the server does not end it for good reason.
const BRIEF = 5000

/** Hears from the server, over one stream, which is opened again and again until it holds. */
export class Connection {
  #base
  #query
  #show
  #source
  #timer
  #turn = 0
  #attempts = 0
  #isPaused = false
  #updatedAt = ''

  /** @param connection `query` gives what is asked for, and `show` shows a state */
  constructor ({ base, query, show }) {
    this.#base = base
    this.#query = query
    this.#show = show
    byId('pause').addEventListener('click', () => this.#pause())
    window.addEventListener('online', () => this.#resume())
    window.addEventListener('pageshow', ({ persisted }) => { if (persisted) this.#resume() })
  }

  get isLive () {
    return this.#source !== undefined
  }

  /** Connects anew, with the query as it is now. Each time is a turn: what comes for an earlier one is ignored. */
  async connect () {
    const turn = this.#disconnect()
    const trouble = await this.refresh()
    if (turn !== this.#turn || this.#isPaused) return
    if (trouble !== undefined) return this.#lose(trouble)
    const openedAt = performance.now()
    this.#source = new EventSource(this.#address('events'))
    this.#source.addEventListener('state', ({ data }) => this.#hear(JSON.parse(data)))
    this.#source.addEventListener('error', () => {
      // Servers end a stream now and then, to ask again who is reading: that is no trouble.
      if (performance.now() - openedAt > BRIEF) this.connect()
      else this.#lose('The server has closed the connection.')
    })
    this.#watch()
  }

  /** Asks once. Says why there is no answer, if there is none. */
  async refresh () {
    const turn = this.#turn
    const { trouble, state } = await fetchState(this.#address('state'))
    if (state !== undefined && turn === this.#turn) this.#update(state)
    return trouble
  }

  #address (path) {
    const url = new URL(path, this.#base)
    for (const [name, value] of Object.entries(this.#query())) url.searchParams.set(name, value)
    return url
  }

  #hear (state) {
    this.#attempts = 0
    this.#update(state)
    showState('live', 'Live')
    this.#watch()
  }

  #update (state) {
    this.#updatedAt = clock.format()
    write(byId('updated'), `updated at ${this.#updatedAt}`)
    this.#show(state)
  }

  #watch () {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(async () => {
      const turn = this.#turn
      const trouble = await this.refresh()
      if (turn !== this.#turn) return
      if (trouble === undefined) this.#watch()
      else this.#lose(trouble)
    }, QUIET)
  }

  /** Tries again: twice as late each time, and not in step with other pages. */
  #lose (trouble) {
    this.#disconnect()
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#attempts++) * (0.75 + Math.random() / 4)
    const since = this.#updatedAt === '' ? '' : ` What you see is from ${this.#updatedAt}.`
    showState('lost', `Connection lost. ${trouble}${since} Trying again…`)
    this.#timer = setTimeout(() => this.connect(), wait)
  }

  #disconnect () {
    this.#source?.close()
    this.#source = undefined
    clearTimeout(this.#timer)
    return ++this.#turn
  }

  #pause () {
    this.#isPaused = !this.#isPaused
    byId('pause').setAttribute('aria-pressed', String(this.#isPaused))
    if (!this.#isPaused) return this.connect()
    this.#disconnect()
    showState('paused', 'Paused')
  }

  #resume () {
    if (!this.#isPaused) this.connect()
  }
}

async function fetchState (url) {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(NO_ANSWER) })
    if (response.ok) return { state: await response.json() }
    const isRefused = response.status === 401 || response.status === 403
    if (isRefused) return { trouble: 'The server does not let you see the sessions: load the page again to sign in.' }
    return { trouble: `The server answers with HTTP ${response.status}.` }
  } catch {
    return { trouble: 'The server does not answer.' }
  }
}

/** Says how the connection is. A screen reader reads it out when it changes, so the time of the last update is not in it. */
function showState (kind, text) {
  byId('light').dataset.state = kind
  byId('updated').hidden = kind === 'lost'
  write(byId('connection'), text)
  document.title = kind === 'lost' ? 'Connection lost – MCP sessions' : 'MCP sessions'
}
