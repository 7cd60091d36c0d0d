import { NotAcceptableError } from '../../base/errors.js'

/** Which of the two kinds of answer a client takes. */
export interface Accepted {
  readonly json: boolean
  readonly events: boolean
}

const ALL: Accepted = { json: true, events: true }

// Clients send the same few headers again and again. What is kept is bounded, because strangers can send any header.
const known = new Map<string, Accepted>()
const MOST_KNOWN = 100
const LONGEST_KNOWN = 200

// A quoted string. Its end may be missing: that keeps a long header from being searched again and again.
const QUOTED = /"(?:\\.|[^"\\])*"?/g

/**
 * What an `Accept` header takes: a list of media ranges, of which the most specific that matches decides; without the header,
 * everything.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1
 */
export function readAccept (header: string | undefined): Accepted {
  if (header === undefined) return ALL
  const remembered = known.get(header)
  if (remembered !== undefined) return remembered
  const ranges = parse(header)
  const accepted = {
    json: isAccepted(ranges, ['application/json', 'application/*', '*/*']),
    events: isAccepted(ranges, ['text/event-stream', 'text/*', '*/*'])
  }
  if (known.size < MOST_KNOWN && header.length <= LONGEST_KNOWN) known.set(header, accepted)
  return accepted
}

/**
 * What the client of a POST that asks for answers takes.
 *
 * @throws NotAcceptableError when it takes none
 */
export function requireAccepted (header: string | undefined): Accepted {
  const accepted = readAccept(header)
  if (!accepted.json && !accepted.events) throw new NotAcceptableError('application/json or text/event-stream')
  return accepted
}

// For each media range, whether its quality is more than 0. Of the parameters only q counts. Quoted strings do not count, and
// may hold commas and semicolons, so they are taken out first.
function parse (header: string): ReadonlyMap<string, boolean> {
  const ranges = new Map<string, boolean>()
  for (const part of header.toLowerCase().replace(QUOTED, '').split(',')) {
    const [range = '', ...parameters] = part.split(';').map((piece) => piece.trim())
    const isTaken = !parameters.some((parameter) => /^q\s*=\s*0(?:\.0*)?$/.test(parameter))
    ranges.set(range, isTaken || ranges.get(range) === true)
  }
  return ranges
}

function isAccepted (ranges: ReadonlyMap<string, boolean>, fromSpecific: readonly string[]): boolean {
  const range = fromSpecific.find((name) => ranges.has(name))
  return range !== undefined && ranges.get(range) === true
}
