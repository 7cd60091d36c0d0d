// The page of the sessions. It is shown what the server says, at most once a second, and changes only what has changed.
// Names come from clients: they go into text alone, with what cannot be seen written out.

const BASE = new URL('.', import.meta.url)
const SVG = 'http://www.w3.org/2000/svg'

// -- Words ----------------------------------------------------------------------------------------------------------

const LONGEST = 80
const UNSEEN = /(?!\ufe0f)[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u
const count = new Intl.NumberFormat('en')
const clock = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })
const minutes = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })

/** Text of others as it may be shown: control, direction and invisible characters are written out, and it is cut. */
function visible (text, longest = LONGEST) {
  let shown = ''
  for (const character of text) {
    if (shown.length >= longest) return `${shown}…`
    shown += UNSEEN.test(character) ? `\\u{${character.codePointAt(0).toString(16)}}` : character
  }
  return shown
}

function duration (ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${pad(seconds % 60)}s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ${pad(Math.floor(seconds / 60) % 60)}m`
  return `${Math.floor(seconds / 86_400)}d ${Math.floor(seconds / 3600) % 24}h`
}

function pad (number) {
  return String(number).padStart(2, '0')
}

// -- Elements -------------------------------------------------------------------------------------------------------

function byId (id) {
  return document.getElementById(id)
}

/** Leaves the element alone if it says so already: a reader's place and a selection stay. */
function write (element, text) {
  if (element.textContent !== text) element.textContent = text
}

function make (name, { text, ...attributes } = {}, ...children) {
  return fill(document.createElement(name), text, attributes, children)
}

function draw (name, { text, ...attributes } = {}, ...children) {
  return fill(document.createElementNS(SVG, name), text, attributes, children)
}

function fill (element, text, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  if (text !== undefined) element.textContent = text
  element.append(...children)
  return element
}

// -- Totals and nodes -----------------------------------------------------------------------------------------------

function showTotals ({ totals, node }) {
  for (const [name, value] of Object.entries(totals)) {
    const element = byId(`total-${name}`)
    if (element !== null) write(element, count.format(value))
  }
  write(byId('totals-heading'), node === '' ? 'Totals' : `Totals of this node, ${visible(node)}`)
}

let nodesShown = '[]'

function showNodes ({ nodes }) {
  byId('nodes').hidden = nodes.length === 0
  byId('session-table').classList.toggle('alone', nodes.length === 0)
  const now = JSON.stringify(nodes)
  if (now === nodesShown) return
  nodesShown = now
  const all = nodes.reduce((sum, { sessions }) => sum + sessions, 0)
  byId('node-rows').replaceChildren(...nodes.map((node) => nodeRow(node, all)))
}

function nodeRow ({ id, url, self, lease, sessions }, all) {
  const name = make('th', { scope: 'row', class: 'mono' }, make('bdi', { text: visible(id) }))
  if (self) name.append(make('span', { class: 'mark', text: 'this node' }))
  const share = all === 0 ? 0 : Math.round(100 * sessions / all)
  const bar = make('span')
  bar.style.setProperty('--share', `${share}%`)
  return make('tr', {},
    name,
    make('td', { class: 'mono' }, make('bdi', { text: visible(url) })),
    make('td', lease > 0 ? { class: 'up', text: 'Up' } : { class: 'gone', text: '✕ Gone' }),
    make('td', { class: 'number', text: lease > 0 ? `${(lease / 1000).toFixed(1)}s` : 'over' }),
    make('td', { class: 'number', text: count.format(sessions) }),
    make('td', {}, make('span', { class: 'hidden', text: `${share} %` }), make('span', { class: 'load', 'aria-hidden': 'true' }, bar))
  )
}

// -- The last hour --------------------------------------------------------------------------------------------------

const MINUTES = 60
const SLOTS = 7
const OTHER = 'other'

/**
 * Small multiples over one axis of time. `parts` gives what a bucket is made of; a name keeps its colour as long as
 * it is there, and what comes when all colours are taken is counted as other.
 */
const charts = [
  { title: 'Active sessions', kind: 'curve', parts: ({ active }) => ({ active }) },
  { title: 'Opened', kind: 'bars', parts: ({ opened }) => ({ opened }) },
  { title: 'Closed, by reason', kind: 'bars', legend: true, parts: ({ closed }) => closed },
  { title: 'Rejected, by code', kind: 'bars', legend: true, parts: ({ rejected }) => rejected }
].map((chart) => ({ ...chart, slots: new Array(SLOTS).fill(undefined), ...chartElements(chart) }))

function chartElements ({ title, legend }) {
  const note = make('span', { class: 'quiet' })
  const svg = draw('svg', { role: 'img', 'aria-label': title })
  const list = make('ul', { class: 'legend' })
  const figure = make('figure', {}, make('figcaption', {}, make('span', { class: 'name', text: title }), note), svg)
  if (legend) figure.append(list)
  return { figure, note, svg, list }
}

let hour = { interval: 60_000, buckets: [] }
let hourShown = ''

function showHistory (state) {
  const now = JSON.stringify(state.history)
  if (now === hourShown) return
  hourShown = now
  hour = state.history
  drawCharts()
  fillHistoryTable()
}

function drawCharts () {
  for (const chart of charts) drawChart(chart, hour.buckets)
}

function drawChart (chart, buckets) {
  const sums = sumUp(buckets.map(chart.parts))
  takeSlots(chart.slots, sums)
  const columns = buckets.map((bucket) => ({ at: bucket.at, parts: stack(chart, chart.parts(bucket)) }))
  const heights = columns.map(({ parts }) => parts.reduce((sum, { value }) => sum + value, 0))
  const note = chart.kind === 'curve'
    ? `now ${count.format(heights.at(-1) ?? 0)}, at most ${count.format(Math.max(0, ...heights))}`
    : `${count.format(heights.reduce((sum, height) => sum + height, 0))} in the last hour`
  write(chart.note, note)
  chart.svg.setAttribute('aria-label', `${chart.title}: ${[note, ...(chart.legend ? sums.map(inWords) : [])].join(', ')}`)
  chart.svg.replaceChildren(...drawing(chart, columns, heights))
  chart.list.replaceChildren(...legendOf(chart, sums))
}

/** Names with their sums, the greatest first. */
function sumUp (all) {
  const sums = new Map()
  for (const parts of all) {
    for (const [name, value] of Object.entries(parts)) sums.set(name, (sums.get(name) ?? 0) + value)
  }
  return [...sums].filter(([, sum]) => sum > 0).sort((one, other) => other[1] - one[1])
}

function takeSlots (slots, sums) {
  const names = sums.map(([name]) => name)
  slots.forEach((name, slot) => { if (!names.includes(name)) slots[slot] = undefined })
  for (const name of names) {
    const free = slots.indexOf(undefined)
    if (free !== -1 && !slots.includes(name)) slots[free] = name
  }
}

/** What one bucket is made of, from the bottom to the top. */
function stack ({ slots }, parts) {
  const sums = new Map()
  for (const [name, value] of Object.entries(parts)) {
    const slot = slots.includes(name) ? slots.indexOf(name) : OTHER
    sums.set(slot, (sums.get(slot) ?? 0) + value)
  }
  return [...slots.keys(), OTHER]
    .filter((slot) => sums.has(slot))
    .map((slot) => ({ name: slot === OTHER ? OTHER : slots[slot], series: `series-${slot}`, value: sums.get(slot) }))
}

function legendOf ({ slots }, sums) {
  const named = sums.filter(([name]) => slots.includes(name))
  const others = sums.filter(([name]) => !slots.includes(name)).reduce((sum, [, value]) => sum + value, 0)
  const entries = named.map(([name, sum]) => [`series-${slots.indexOf(name)}`, inWords([name, sum])])
  if (others > 0) entries.push([`series-${OTHER}`, inWords([OTHER, others])])
  return entries.map(([series, text]) => make('li', {}, make('span', { class: series, 'aria-hidden': 'true' }), text))
}

function inWords ([name, sum]) {
  return `${partName(name)} ${count.format(sum)}`
}

/** The codes of this plugin, without what they have in common. */
function partName (name) {
  return visible(name.replace(/^FST_ERR_MCP_SESSION_/, '').replaceAll('_', ' ').toLowerCase())
}

function drawing ({ svg, kind }, columns, heights) {
  const width = svg.clientWidth || 480
  const height = svg.clientHeight || 136
  const top = niceTop(Math.max(0, ...heights))
  const area = { left: 8 + 7 * count.format(top).length, right: width - 1, top: 8, bottom: height - 20 }
  const step = (area.right - area.left) / MINUTES
  const first = MINUTES - columns.length
  const x = (index) => area.left + (first + index) * step
  const y = (value) => area.bottom - (area.bottom - area.top) * value / top
  const shapes = kind === 'curve' ? curve(heights, x, y, step) : columns.flatMap(({ parts }, index) => bars(parts, x(index), y, step))
  return [...axes(area, top, columns), ...shapes, ...columns.map((column, index) => slotOf(column, heights[index], x(index), area, step, kind))]
}

/** The end of an axis: a round number that is not much greater than what there is. */
function niceTop (most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1)))
  return [1, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * power).find((end) => end >= most)
}

function axes ({ left, right, top, bottom }, end, columns) {
  const lines = [[end, top], [end / 2, (top + bottom) / 2], [0, bottom]].filter(([value]) => Number.isInteger(value))
  const last = columns.at(-1)?.at ?? Date.now()
  const times = [[-60, left, 'start'], [-30, (left + right) / 2, 'middle'], [0, right, 'end']]
  return [
    ...lines.map(([, y]) => draw('line', { class: 'grid', x1: left, x2: right, y1: y, y2: y })),
    ...lines.map(([value, y]) => draw('text', { x: left - 6, y: y + 4, 'text-anchor': 'end', text: count.format(value) })),
    ...times.map(([ago, x, anchor]) => draw('text', { x, y: bottom + 16, 'text-anchor': anchor, text: minutes.format(last + ago * hour.interval) }))
  ]
}

function curve (heights, x, y, step) {
  if (heights.length === 0) return []
  const points = heights.map((height, index) => `${x(index) + step / 2},${y(height)}`)
  if (heights.length === 1) points.unshift(`${x(0)},${y(heights[0])}`)
  const [start, end] = [points[0].split(',')[0], points.at(-1).split(',')[0]]
  return [
    draw('polygon', { class: 'area', points: `${start},${y(0)} ${points.join(' ')} ${end},${y(0)}` }),
    draw('polyline', { class: 'curve', points: points.join(' ') })
  ]
}

function bars (parts, x, y, step) {
  let below = 0
  return parts.filter(({ value }) => value > 0).map(({ series, value }) => {
    const bottom = y(below)
    below += value
    return draw('rect', { class: series, x: x + step * 0.12, width: step * 0.76, y: y(below), height: Math.max(1, bottom - y(below)) })
  })
}

/** Says what is at one place of the axis when it is pointed at. The table below has the same for all. */
function slotOf ({ at, parts }, height, x, { top, bottom }, step, kind) {
  const details = kind === 'curve' ? [] : parts.map(({ name, value }) => inWords([name, value]))
  const text = [`${minutes.format(at)}: ${count.format(height)}`, ...details].join('\n')
  return draw('rect', { class: 'slot', x, y: top, width: step, height: bottom - top }, draw('title', { text }))
}

function fillHistoryTable () {
  if (!byId('history-details').open) return
  byId('history-rows').replaceChildren(...hour.buckets.toReversed().map(({ at, active, opened, closed, rejected }) => make('tr', {},
    make('th', { scope: 'row', text: minutes.format(at) }),
    make('td', { class: 'number', text: count.format(active) }),
    make('td', { class: 'number', text: count.format(opened) }),
    make('td', { text: inList(closed) }),
    make('td', { text: inList(rejected) })
  )))
}

function inList (parts) {
  return sumUp([parts]).map(inWords).join(', ') || '0'
}

// -- Sessions -------------------------------------------------------------------------------------------------------

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

const rows = new Map()

function showSessions ({ sessions }) {
  const { total, matching } = sessions
  const wanted = sessions.rows.map(rowOf)
  placeRows(wanted)
  const of = matching === total ? '' : ` (${count.format(total)} in all)`
  write(byId('count'), `showing ${count.format(wanted.length)} of ${count.format(matching)}${of}`)
  byId('nothing').hidden = wanted.length > 0
  write(byId('nothing'), total === 0 ? 'There are no sessions yet. They appear here as clients connect.' : 'No session matches the search.')
}

function rowOf (session) {
  const row = rows.get(session.hash) ?? addRow(session.hash)
  row.session = session
  row.seen = performance.now()
  const { client } = session
  writeClipped(row.cells.client, client === null ? '(not said)' : `${client.name} ${client.version}`)
  writeClipped(row.cells.principal, session.principal ?? '(anonymous)')
  writeClipped(row.cells.node, session.node)
  writeClipped(row.cells.revision, session.revision ?? '–')
  row.cells.client.parentElement.classList.toggle('quiet', client === null)
  row.cells.principal.parentElement.classList.toggle('quiet', session.principal === null)
  write(row.cells.inFlight, count.format(session.inFlight))
  write(row.cells.streams, count.format(session.streams))
  row.parked.hidden = !session.parked
  row.end.hidden = !session.endable
  row.fixed.hidden = session.endable
  writeTimes(row)
  return row
}

/** Times go on between two messages, so that a quiet server need not send any. */
function writeTimes ({ session, seen, cells }) {
  const since = performance.now() - seen
  write(cells.age, duration(session.age + since))
  write(cells.idle, duration(session.inFlight > 0 ? session.idle : session.idle + since))
}

function writeClipped (element, text) {
  write(element, visible(text))
  const more = text.length > LONGEST / 4 ? visible(text, 500) : ''
  if (element.title !== more) element.title = more
}

function addRow (hash) {
  const cells = {}
  const parked = make('span', { class: 'mark', text: 'parked' })
  const end = make('button', { type: 'button', 'aria-label': `End session ${visible(hash)}`, text: 'End' })
  const fixed = make('span', { class: 'hidden', text: 'cannot be ended from here' })
  const element = make('tr', { role: 'row' },
    make('th', { scope: 'row', role: 'rowheader', class: 'whole' }, make('bdi', { class: 'mono', text: visible(hash) }), parked))
  for (const { name, label, whole, number } of CELLS) {
    cells[name] = make('bdi', number ? {} : { class: 'clip' })
    const kind = [whole && 'whole', number && 'number', name === 'node' && 'of-node'].filter(Boolean).join(' ')
    element.append(make('td', { role: 'cell', 'data-label': label, class: kind }, cells[name]))
  }
  element.append(make('td', { role: 'cell', class: 'act' }, end, fixed))
  const row = { element, cells, parked, end, fixed, session: undefined, seen: 0 }
  end.addEventListener('click', () => askToEnd(row))
  rows.set(hash, row)
  return row
}

/** Brings the rows into their order. The row that has the focus is never moved, for it would lose it. */
function placeRows (wanted) {
  const body = byId('session-rows')
  const held = [...body.children].find((element) => element.contains(document.activeElement))
  const place = wanted.map(({ element }) => element)
  const next = removeRows(body, new Set(place), held)
  let at = body.firstElementChild
  for (const element of place) {
    if (element === held) while (at !== held) at = putLast(body, at)
    if (element === at) at = at.nextElementSibling
    else body.insertBefore(element, at)
  }
  if (next !== undefined) focusRow(next)
}

function putLast (body, element) {
  const after = element.nextElementSibling
  body.append(element)
  return after
}

/** Where the focus has to go if it was in a row that is removed. */
function removeRows (body, kept, held) {
  let next
  for (const [hash, { element }] of rows) {
    if (kept.has(element)) continue
    if (element === held) next = nearest(element, kept)
    rows.delete(hash)
  }
  for (const element of [...body.children]) {
    if (!kept.has(element)) element.remove()
  }
  return next
}

function nearest (element, kept) {
  for (let at = element.nextElementSibling; at !== null; at = at.nextElementSibling) if (kept.has(at)) return at
  for (let at = element.previousElementSibling; at !== null; at = at.previousElementSibling) if (kept.has(at)) return at
  return null
}

function focusRow (element) {
  const button = element?.querySelector('button:not([hidden])') ?? byId('search')
  button.focus()
}

// -- Search and sort ------------------------------------------------------------------------------------------------

const PATIENCE = 250
const query = { search: '', sort: 'idle', order: 'asc' }
let typing
let asked = false

function headOf (sort) {
  return document.querySelector(`th[data-sort="${sort}"]`)
}

function sortBy (sort) {
  headOf(query.sort).removeAttribute('aria-sort')
  query.order = query.sort === sort && query.order === 'asc' ? 'desc' : 'asc'
  query.sort = sort
  showOrder()
  ask()
}

function showOrder () {
  headOf(query.sort).setAttribute('aria-sort', query.order === 'asc' ? 'ascending' : 'descending')
}

function typed () {
  clearTimeout(typing)
  typing = setTimeout(() => {
    const search = byId('search').value.trim()
    if (search === query.search) return
    query.search = search
    ask()
  }, PATIENCE)
}

function ask () {
  asked = true
  byId('session-table').setAttribute('aria-busy', 'true')
  connect()
}

/** Said once for each question, and not whenever a session comes or goes. */
function answer () {
  if (!asked) return
  asked = false
  byId('session-table').removeAttribute('aria-busy')
  say(`Sessions: ${byId('count').textContent}`)
}

// -- Ending a session -----------------------------------------------------------------------------------------------

let ending

function askToEnd (row) {
  ending = row
  const { hash, client, inFlight } = row.session
  const whose = client === null ? '' : ` of ${visible(client.name, 40)}`
  const work = inFlight === 0 ? 'nothing in flight' : `${count.format(inFlight)} in flight`
  byId('ending-text').replaceChildren('Session ', make('bdi', { class: 'mono', text: visible(hash) }), make('bdi', { text: whose }), `, ${work}.`)
  byId('ending').showModal()
}

async function endSession () {
  const { hash } = ending.session
  byId('ending').close()
  const { failed, text } = await requestEnd(hash)
  say(text, failed)
  if (!failed) await refresh()
}

async function requestEnd (hash) {
  const name = visible(hash)
  try {
    const response = await fetch(new URL(`sessions/${encodeURIComponent(hash)}/end`, BASE), {
      method: 'POST', headers: { 'x-mcp-sessions-dashboard': 'end' }
    })
    if (response.ok) return { failed: false, text: `Session ${name} has been ended.` }
    if (response.status === 404) return { failed: false, text: `Session ${name} had gone already.` }
    const { message = response.statusText } = await response.json().catch(() => ({}))
    return { failed: true, text: `Session ${name} was not ended (HTTP ${response.status}): ${visible(String(message), 300)}` }
  } catch {
    return { failed: true, text: `Session ${name} was perhaps not ended: the server did not answer.` }
  }
}

function say (text, failed = false) {
  byId('said').dataset.failed = String(failed)
  byId('said').textContent = text
}

// -- Connection -----------------------------------------------------------------------------------------------------

const FIRST_WAIT = 1000
const LONGEST_WAIT = 30_000
// A quiet server sends nothing that a page can see. It is asked, so that a connection that died without a word is noticed.
const QUIET = 20_000
const NO_ANSWER = 10_000
const BRIEF = 5000

let source
let timer
let turn = 0
let attempts = 0
let paused = false
let updated = ''

function address (path) {
  const url = new URL(path, BASE)
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
  return url
}

/** Begins anew, with the question as it is now. What an earlier turn hears is no longer of interest. */
async function connect () {
  const mine = disconnect()
  const trouble = await refresh()
  if (mine !== turn || paused) return
  if (trouble !== undefined) return lose(trouble)
  const opened = performance.now()
  source = new EventSource(address('events'))
  source.addEventListener('error', () => {
    // Servers end a stream now and then, to ask again who is reading. That is nothing to speak of.
    if (performance.now() - opened > BRIEF) connect()
    else lose('The server has closed the connection.')
  })
  source.addEventListener('state', ({ data }) => {
    attempts = 0
    show(JSON.parse(data))
    showConnection('live', 'Live')
    watch()
  })
  watch()
}

function disconnect () {
  source?.close()
  source = undefined
  clearTimeout(timer)
  return ++turn
}

function watch () {
  clearTimeout(timer)
  timer = setTimeout(async () => {
    const mine = turn
    const trouble = await refresh()
    if (mine !== turn) return
    if (trouble === undefined) watch()
    else lose(trouble)
  }, QUIET)
}

/** Asks once. Says why there is no answer, if there is none. */
async function refresh () {
  const mine = turn
  try {
    const response = await fetch(address('state'), { signal: AbortSignal.timeout(NO_ANSWER) })
    if (response.status === 401 || response.status === 403) return 'The server does not let you see the sessions: load the page again to sign in.'
    if (!response.ok) return `The server answers with HTTP ${response.status}.`
    const state = await response.json()
    if (mine === turn) show(state)
  } catch {
    return 'The server does not answer.'
  }
}

/** Tries again: twice as late each time, and not in step with other pages. */
function lose (trouble) {
  disconnect()
  const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** attempts++) * (0.75 + Math.random() / 4)
  const since = updated === '' ? '' : ` What you see is from ${updated}.`
  showConnection('lost', `Connection lost. ${trouble}${since} Trying again…`)
  timer = setTimeout(connect, wait)
}

function show (state) {
  updated = clock.format()
  write(byId('updated'), `updated at ${updated}`)
  showTotals(state)
  showHistory(state)
  showNodes(state)
  showSessions(state)
  answer()
}

/** A screen reader says it when it changes. The time of the last update, which changes always, is beside it. */
function showConnection (kind, text) {
  byId('light').dataset.state = kind
  byId('updated').hidden = kind === 'lost'
  write(byId('connection'), text)
  document.title = kind === 'lost' ? 'Connection lost – MCP sessions' : 'MCP sessions'
}

function pause () {
  paused = !paused
  byId('pause').setAttribute('aria-pressed', String(paused))
  if (!paused) return connect()
  disconnect()
  showConnection('paused', 'Paused')
}

function reconnect () {
  if (!paused) connect()
}

function tick () {
  if (source === undefined) return
  for (const row of rows.values()) writeTimes(row)
}

// -- Start ----------------------------------------------------------------------------------------------------------

byId('charts').append(...charts.map(({ figure }) => figure))
new ResizeObserver(drawCharts).observe(byId('charts'))
byId('history-details').addEventListener('toggle', fillHistoryTable)
byId('search').addEventListener('input', typed)
for (const head of document.querySelectorAll('th[data-sort]')) {
  head.firstElementChild.addEventListener('click', () => sortBy(head.dataset.sort))
}
byId('ending-keep').addEventListener('click', () => byId('ending').close())
byId('ending-end').addEventListener('click', endSession)
byId('ending').addEventListener('close', () => { if (!ending.element.isConnected) focusRow(byId('session-rows').firstElementChild) })
byId('pause').addEventListener('click', pause)
window.addEventListener('online', reconnect)
window.addEventListener('pageshow', ({ persisted }) => { if (persisted) reconnect() })
setInterval(tick, 1000)
showOrder()
connect()
