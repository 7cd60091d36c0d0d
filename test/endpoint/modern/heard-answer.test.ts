// What a call of 2026-07-28 was answered with, heard in what goes by.
import t from 'tap'
import { HeardAnswer } from '../../../lib/endpoint/modern/heard-answer.js'

const result = { content: [{ type: 'text', text: 'Grüße' }], isError: true }
const answer = JSON.stringify({ jsonrpc: '2.0', id: 7, result })
const failure = JSON.stringify({ jsonrpc: '2.0', id: 7, error: { code: -32602, message: 'no' } })
const progress = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/progress', params: { progress: 1 } })
const event = (data: string, end = '\n'): string => `event: message${end}data: ${data}${end}${end}`

function hear (): { heard: HeardAnswer, told: unknown[] } {
  const told: unknown[] = []
  return { heard: new HeardAnswer(7, (outcome) => told.push(outcome)), told }
}

/** In pieces of so many bytes. */
function hearPieces (text: string, size: number): unknown[] {
  const { heard, told } = hear()
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; at += size) heard.hearEvents(bytes.subarray(at, at + size))
  return told
}

t.test('JSON, as text and as bytes', async (t) => {
  for (const [text, outcome] of [[answer, { result }], [failure, { error: { code: -32602, message: 'no' } }]] as const) {
    const { heard, told } = hear()
    heard.hearJson(text)
    heard.hearJson(Buffer.from(text))
    t.strictSame(told, [outcome, outcome])
  }
})

t.test('what is not the answer says nothing', async (t) => {
  const { heard, told } = hear()
  for (const text of ['', '{}', '"result"', '{"id":7,"result"', '[{"id":7,"result":{}}]', progress, answer.replace('7', '8'), '{"id":7,"params":{"error":1}}']) heard.hearJson(text)
  t.strictSame(told, [])
})

t.test('a stream of events, wherever its pieces begin', async (t) => {
  for (const end of ['\n', '\r\n', '\r']) {
    const text = `:${end}${end}${event(progress, end)}: a comment${end}${event(answer, end)}${event(progress, end)}`
    for (const size of [1, 2, 3, 5, 64, 10_000]) t.strictSame(hearPieces(text, size), [{ result }], `${JSON.stringify(end)}, ${size}`)
  }
  t.strictSame(hearPieces(event(answer.replace(',', ',\ndata:')), 10_000), [{ result }], 'an event of several lines')
  t.strictSame(hearPieces(`data:${failure}\n\n`, 10), [{ error: { code: -32602, message: 'no' } }], 'without a space')
  t.strictSame(hearPieces(`data: ${answer}\n`, 10), [], 'an event that has no end')
})

t.test('what is too large is not read, and what follows is', async (t) => {
  const large = JSON.stringify({ jsonrpc: '2.0', id: 7, result: { text: 'x'.repeat(1_100_000) } })
  const { heard, told } = hear()
  heard.hearJson(large)
  heard.hearJson(Buffer.from(large))
  t.strictSame(told, [])
  for (const size of [1000, 65_536, 10_000_000]) t.strictSame(hearPieces(event(large) + event(failure), size), [{ error: { code: -32602, message: 'no' } }], `${size}`)
})
