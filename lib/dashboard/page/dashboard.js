// Puts the page together. It shows what the server says, at most once a second, and changes only what has changed.

import { Connection } from './connection.js'
import { EndDialog } from './end-dialog.js'
import { mountHour, showHour } from './last-hour.js'
import { showNodes, showTotals } from './nodes.js'
import { SessionTable } from './session-table.js'
import { TableQuery } from './table-query.js'

const base = new URL('.', import.meta.url)
const query = new TableQuery(() => connection.connect())
const connection = new Connection({ base, query: () => query.query, show })
const endDialog = new EndDialog({ base, onEnded: () => connection.refresh(), onLost: () => table.focus() })
const table = new SessionTable((row) => endDialog.ask(row))

function show (state) {
  showTotals(state)
  showHour(state)
  showNodes(state)
  table.show(state)
  query.answer()
}

mountHour()
setInterval(() => { if (connection.isLive) table.tick() }, 1000)
connection.connect()
