import t from 'tap'
import { readAccept } from '../../../lib/endpoint/transport/media-types.js'

const BOTH = { json: true, events: true }
const JSON_ONLY = { json: true, events: false }
const EVENTS_ONLY = { json: false, events: true }
const NEITHER = { json: false, events: false }

const cases: Array<[header: string | undefined, accepted: { json: boolean, events: boolean }, why: string]> = [
  [undefined, BOTH, 'without the header, all'],
  ['', NEITHER, 'an empty one lists nothing'],
  ['application/json, text/event-stream', BOTH, 'what the specification asks for'],
  ['text/event-stream,application/json', BOTH, 'in any order, without spaces'],
  ['application/json', JSON_ONLY, ''],
  ['text/event-stream', EVENTS_ONLY, ''],
  ['text/html', NEITHER, ''],
  ['application/jsonp, text/event-streams, xapplication/json', NEITHER, 'a name that only begins or ends like one'],
  ['json', NEITHER, 'no media range'],
  ['*/*', BOTH, ''],
  ['application/*', JSON_ONLY, ''],
  ['text/*', EVENTS_ONLY, ''],
  ['text/*, application/*', BOTH, ''],
  ['*/json, */event-stream', NEITHER, 'no media range either'],
  ['Application/JSON, TEXT/Event-Stream', BOTH, 'types are written in any case'],
  ['  application/json\t,\t text/event-stream ', BOTH, 'spaces and tabs around a range'],
  [', ,application/json,,', JSON_ONLY, 'empty elements of a list: RFC 9110, section 5.6.1.2'],
  ['application/json; charset=utf-8, text/event-stream;charset=UTF-8', BOTH, 'other parameters'],
  ['application/json;q=0.1, text/event-stream;q=1.000', BOTH, 'any quality but none'],
  ['application/json;q=0.001', JSON_ONLY, 'the least quality'],
  ['application/json;q=0, text/event-stream', EVENTS_ONLY, 'no quality'],
  ['application/json; Q=0.000, text/event-stream ; q=0.', NEITHER, 'no quality, written in other ways'],
  ['application/json;charset=utf-8;q=0, text/event-stream;q=0;v=1', NEITHER, 'before and after other parameters'],
  ['application/json;q=00, text/event-stream;q=0.01', BOTH, 'what is no quality of 0'],
  ['application/json;seq=0, text/event-stream;q=none', BOTH, 'a parameter whose name only ends in q; a quality that is none'],
  ['*/*, application/json;q=0', EVENTS_ONLY, 'the most specific range decides'],
  ['application/json;q=0, */*', EVENTS_ONLY, 'wherever it stands'],
  ['*/*, text/*;q=0', JSON_ONLY, 'a type before all of them'],
  ['text/*;q=0, text/event-stream, */*;q=0', EVENTS_ONLY, 'a subtype before its type'],
  ['application/*;q=0, application/json;q=0.5', JSON_ONLY, ''],
  ['*/*;q=0', NEITHER, ''],
  ['application/json, application/json;v=1;q=0', JSON_ONLY, 'what is refused with a parameter is not refused without it'],
  ['application/json;v=1;q=0, application/json', JSON_ONLY, 'in any order'],
  ['application/json;note=";q=0;", text/event-stream;note="a\\",;q=0"', BOTH, 'what is quoted says nothing'],
  ['application/json;note="text/event-stream, text/event-stream', JSON_ONLY, 'a quote that does not end'],
  ['text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8', BOTH, 'a browser']
]

t.test('reads a header as RFC 9110 has it', async (t) => {
  for (const [header, accepted, why] of cases) t.strictSame(readAccept(header), accepted, `${header}  ${why}`)
  for (const [header, accepted] of cases) t.strictSame(readAccept(header), accepted, `again: ${header}`)
})

t.test('strangers cannot make it remember more and more, nor answer wrongly', async (t) => {
  const answers = new Set<object>()
  for (let i = 0; i < 1000; i++) {
    for (const read of [readAccept(`application/json, text/x-${i}`), readAccept(`application/json, text/x-${i}`)]) {
      if (!read.json || read.events) t.fail(`text/x-${i}`)
      answers.add(read)
    }
  }
  t.ok(answers.size > 1800, 'most were not remembered')
  t.strictSame(readAccept(`text/event-stream, text/${'x'.repeat(10_000)}`), EVENTS_ONLY)
})

t.test('a header that is made to be slow is not', async (t) => {
  const start = performance.now()
  for (const piece of ['"', '\\"', '"\\', ';', ',', ' ', '\t;', 'q=', '"\\"']) readAccept(`application/json;${piece.repeat(16_384 / piece.length)}`)
  t.ok(performance.now() - start < 1000)
})
