import { byId, make, write } from './elements.js'
import { count, inFull, visible } from './text.js'

/** How much there is on the node that serves the page. */
export function showTotals ({ totals, node }) {
  for (const [name, value] of Object.entries(totals)) {
    const element = byId(`total-${name}`)
    if (element !== null) write(element, count.format(value))
  }
  const heading = byId('totals-heading')
  heading.classList.toggle('hidden', node === '')
  write(heading, node === '' ? 'Totals' : `This node: ${visible(node)}`)
}

let shown = '[]'

/** The nodes of the cluster, if there is one. */
export function showNodes ({ nodes }) {
  byId('nodes').hidden = nodes.length === 0
  const now = JSON.stringify(nodes)
  if (now === shown) return
  shown = now
  const all = nodes.reduce((sum, { sessions }) => sum + sessions, 0)
  byId('node-rows').replaceChildren(...nodes.map((node) => nodeRow(node, all)))
}

function nodeRow ({ id, url, self, lease, sessions }, all) {
  const name = make('th', { scope: 'row', class: 'mono' }, make('bdi', { class: 'clip', title: inFull(id), text: visible(id) }))
  if (self) name.append(' ', make('span', { class: 'mark', text: 'this node' }))
  const share = all === 0 ? 0 : Math.round(100 * sessions / all)
  const bar = make('span')
  bar.style.setProperty('--share', `${share}%`)
  return make('tr', {},
    name,
    make('td', lease > 0 ? { class: 'up', text: 'Up' } : { class: 'gone', text: '✕ Gone' }),
    make('td', { class: 'number', text: lease > 0 ? `${(lease / 1000).toFixed(1)}s` : 'over' }),
    make('td', { class: 'number', text: count.format(sessions) }),
    make('td', {}, make('span', { class: 'hidden', text: `${share} %` }), make('span', { class: 'load', 'aria-hidden': 'true' }, bar)),
    make('td', { class: 'mono' }, make('bdi', { text: visible(url) }))
  )
}
