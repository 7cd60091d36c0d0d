// The page of the sessions. It is shown what the server says, at most once a second, and changes only what has changed.

import { Connection } from './connection.js'
import { Ending } from './ending.js'
import { mountHour, showHour } from './hour.js'
import { showNodes, showTotals } from './nodes.js'
import { Question } from './question.js'
import { SessionTable } from './session-table.js'

const base = new URL('.', import.meta.url)
const question = new Question(() => connection.connect())
const connection = new Connection({ base, query: () => question.query, show })
const ending = new Ending({ base, onEnded: () => connection.refresh(), onLost: () => table.focus() })
const table = new SessionTable((row) => ending.ask(row))

function show (state) {
  showTotals(state)
  showHour(state)
  showNodes(state)
  table.show(state)
  question.answer()
}

mountHour()
setInterval(() => { if (connection.isLive) table.tick() }, 1000)
connection.connect()
