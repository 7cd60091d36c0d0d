import { Chart } from './chart.js'
import { byId, make } from './elements.js'
import { inWords, sumUp } from './bucket-parts.js'
import { count, minute } from './text.js'

const charts = [
  new Chart({ title: 'Active sessions', kind: 'curve', parts: ({ active }) => ({ active }) }),
  new Chart({ title: 'Opened', kind: 'bars', parts: ({ opened }) => ({ opened }) }),
  new Chart({ title: 'Closed, by reason', kind: 'bars', parts: ({ closed }) => closed, legend: true }),
  new Chart({ title: 'Rejected, by code', kind: 'bars', parts: ({ rejected }) => rejected, legend: true })
]

let hour = { interval: 60_000, buckets: [] }
let shown = ''

export function mountHour () {
  byId('charts').append(...charts.map(({ element }) => element))
  new ResizeObserver(drawCharts).observe(byId('charts'))
  byId('history-details').addEventListener('toggle', fillTable)
}

export function showHour ({ history }) {
  const now = JSON.stringify(history)
  if (now === shown) return
  shown = now
  hour = history
  drawCharts()
  fillTable()
}

function drawCharts () {
  for (const chart of charts) chart.show(hour)
}

function fillTable () {
  if (!byId('history-details').open) return
  byId('history-rows').replaceChildren(...hour.buckets.toReversed().map(hourRow))
}

function hourRow ({ at, active, opened, closed, rejected }) {
  return make('tr', {},
    make('th', { scope: 'row', text: minute.format(at) }),
    make('td', { class: 'number', text: count.format(active) }),
    make('td', { class: 'number', text: count.format(opened) }),
    make('td', { text: listOf(closed) }),
    make('td', { text: listOf(rejected) })
  )
}

function listOf (parts) {
  return sumUp([parts]).map(inWords).join(', ') || '0'
}
