import { draw, make, write } from './elements.js'
import { inWords, Palette, sumUp } from './bucket-parts.js'
import { count, minute } from './text.js'

const BUCKETS = 60

/** One chart of several that have the same axis of time, and each an axis of numbers of its own. */
export class Chart {
  #title
  #kind
  #partsOf
  #palette = new Palette()
  #note = make('span', { class: 'quiet' })
  #svg
  #legend

  /** @param chart `kind` is `'curve'` or `'bars'`; `parts` says what a bucket is made of */
  constructor ({ title, kind, parts, legend = false }) {
    this.#title = title
    this.#kind = kind
    this.#partsOf = parts
    this.#svg = draw('svg', { role: 'img', 'aria-label': title })
    this.#legend = legend ? make('ul', { class: 'legend' }) : undefined
    const caption = make('figcaption', {}, make('span', { class: 'name', text: title }), this.#note)
    this.element = make('figure', {}, caption, this.#svg)
    if (this.#legend !== undefined) this.element.append(this.#legend)
  }

  show ({ interval, buckets }) {
    const sums = sumUp(buckets.map(this.#partsOf))
    this.#palette.assign(sums)
    const columns = buckets.map((bucket) => {
      const parts = this.#palette.apply(sumUp([this.#partsOf(bucket)]))
      return { at: bucket.at, parts, height: parts.reduce((sum, { value }) => sum + value, 0) }
    })
    this.#describe(columns.map(({ height }) => height), sums)
    this.#legend?.replaceChildren(...this.#palette.apply(sums).map(legendEntry))
    this.#svg.replaceChildren(...this.#draw(columns, interval))
  }

  #describe (heights, sums) {
    const note = this.#kind === 'curve'
      ? `now ${count.format(heights.at(-1) ?? 0)}, at most ${count.format(Math.max(0, ...heights))}`
      : `${count.format(heights.reduce((sum, height) => sum + height, 0))} in the last hour`
    write(this.#note, note)
    const details = this.#legend === undefined ? [] : sums.map(inWords)
    this.#svg.setAttribute('aria-label', `${this.#title}: ${[note, ...details].join(', ')}`)
  }

  #draw (columns, interval) {
    const top = roundEnd(Math.max(0, ...columns.map(({ height }) => height)))
    const scale = makeScale(this.#svg, top, BUCKETS - columns.length)
    const shapes = this.#kind === 'curve'
      ? drawCurve(columns, scale)
      : columns.flatMap(({ parts }, index) => drawBar(parts, index, scale))
    const end = columns.at(-1)?.at ?? Date.now()
    const hints = columns.map((column, index) => drawHint(column, index, scale, this.#kind))
    return [...drawAxes(scale, top, end, interval), ...shapes, ...hints]
  }
}

/** The end of an axis: a round number that is not much greater than what there is. */
function roundEnd (most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1)))
  return [1, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * power).find((end) => end >= most)
}

/** Where things are, in pixels. The newest bucket is always at the right. */
function makeScale (svg, top, skipped) {
  const area = {
    left: 8 + 7 * count.format(top).length,
    right: (svg.clientWidth || 480) - 1,
    top: 8,
    bottom: (svg.clientHeight || 136) - 20
  }
  const step = (area.right - area.left) / BUCKETS
  return {
    ...area,
    step,
    x: (index) => area.left + (skipped + index) * step,
    y: (value) => area.bottom - (area.bottom - area.top) * value / top
  }
}

function drawAxes ({ left, right, bottom, y }, top, end, interval) {
  const lines = [top, top / 2, 0].filter(Number.isInteger)
  const times = [[BUCKETS, left, 'start'], [BUCKETS / 2, (left + right) / 2, 'middle'], [0, right, 'end']]
  return [
    ...lines.map((value) => draw('line', { class: 'grid', x1: left, x2: right, y1: y(value), y2: y(value) })),
    ...lines.map((value) => draw('text', { x: left - 6, y: y(value) + 4, 'text-anchor': 'end', text: count.format(value) })),
    ...times.map(([ago, x, anchor]) => {
      return draw('text', { x, y: bottom + 16, 'text-anchor': anchor, text: minute.format(end - ago * interval) })
    })
  ]
}

function drawCurve (columns, { x, y, step }) {
  if (columns.length === 0) return []
  const places = columns.map(({ height }, index) => [x(index) + step / 2, y(height)])
  if (places.length === 1) places.unshift([x(0), places[0][1]])
  const line = places.map((place) => place.join(',')).join(' ')
  return [
    draw('polygon', { class: 'area', points: `${places[0][0]},${y(0)} ${line} ${places.at(-1)[0]},${y(0)}` }),
    draw('polyline', { class: 'curve', points: line })
  ]
}

function drawBar (parts, index, { x, y, step }) {
  let below = 0
  return parts.map(({ series, value }) => {
    const bottom = y(below)
    below += value
    const height = Math.max(1, bottom - y(below))
    return draw('rect', { class: series, x: x(index) + step * 0.12, width: step * 0.76, y: y(below), height })
  })
}

/** Says what is at one place of the axis when it is pointed at. The table has the same for all. */
function drawHint ({ at, parts, height }, index, { x, top, bottom, step }, kind) {
  const details = kind === 'curve' ? [] : parts.map(({ name, value }) => inWords([name, value]))
  const text = [`${minute.format(at)}: ${count.format(height)}`, ...details].join('\n')
  return draw('rect', { class: 'slot', x: x(index), y: top, width: step, height: bottom - top }, draw('title', { text }))
}

function legendEntry ({ name, value, series }) {
  return make('li', {}, make('span', { class: series, 'aria-hidden': 'true' }), inWords([name, value]))
}
