import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'
import t from 'tap'
import { EventBuffer } from '../../../lib/endpoint/transport/event-buffer.js'

const GET_STREAM = '_GET_stream'

function notification (text: string): JSONRPCMessage {
  return { jsonrpc: '2.0', method: 'notifications/message', params: { text } }
}

function response (id: number): JSONRPCMessage {
  return { jsonrpc: '2.0', id, result: {} }
}

// As the transport does it: `{}` is typed as a message there, and is none.
const PRIMING: JSONRPCMessage = JSON.parse('{}')

async function replay (buffer: EventBuffer, eventId: string): Promise<{ streamId: string, ids: string[], messages: JSONRPCMessage[] }> {
  const ids: string[] = []
  const messages: JSONRPCMessage[] = []
  const streamId = await buffer.replayEventsAfter(eventId, {
    async send (id, message) {
      ids.push(id)
      messages.push(message)
    }
  })
  return { streamId, ids, messages }
}

t.test('replays what came after an event, in order and under the same ids', async (t) => {
  const buffer = new EventBuffer(10)
  const first = await buffer.storeEvent(GET_STREAM, notification('1'))
  const ids = [await buffer.storeEvent(GET_STREAM, notification('2')), await buffer.storeEvent(GET_STREAM, notification('3'))]
  const replayed = await replay(buffer, first)
  t.equal(replayed.streamId, GET_STREAM)
  t.strictSame(replayed.ids, ids)
  t.strictSame(replayed.messages, [notification('2'), notification('3')])
  t.strictSame((await replay(buffer, String(ids[1]))).messages, [])
})

t.test('replays that stream and no other', async (t) => {
  const buffer = new EventBuffer(10)
  const first = await buffer.storeEvent('a', notification('a1'))
  await buffer.storeEvent('b', notification('b1'))
  await buffer.storeEvent('a', notification('a2'))
  await buffer.storeEvent('b', response(1))
  t.strictSame((await replay(buffer, first)).messages, [notification('a2')])
})

t.test('a stream may be named like the ids that come of it', async (t) => {
  const buffer = new EventBuffer(10)
  const first = await buffer.storeEvent('a', notification('1'))
  const inner = await buffer.storeEvent(first, notification('2'))
  await buffer.storeEvent('a', notification('3'))
  t.strictSame((await replay(buffer, first)).messages, [notification('3')])
  t.strictSame((await replay(buffer, inner)).streamId, first)
})

t.test('a priming event is an id to come back with and is not replayed', async (t) => {
  const buffer = new EventBuffer(10)
  const priming = await buffer.storeEvent('a', PRIMING)
  await buffer.storeEvent('a', PRIMING)
  await buffer.storeEvent('a', response(1))
  t.strictSame((await replay(buffer, priming)).messages, [response(1)])
})

t.test('keeps no more events than it may, whatever stream they are of', async (t) => {
  const buffer = new EventBuffer(3)
  const first = await buffer.storeEvent('a', notification('0'))
  for (let index = 1; index < 10; index++) await buffer.storeEvent(index % 2 === 0 ? 'a' : 'b', notification(String(index)))
  t.strictSame((await replay(buffer, first)).messages, [notification('8')])
})

t.test('what comes in during a replay goes along, whatever is dropped meanwhile', async (t) => {
  const buffer = new EventBuffer(3)
  const first = await buffer.storeEvent('a', notification('1'))
  await buffer.storeEvent('a', notification('2'))
  const messages: JSONRPCMessage[] = []
  await buffer.replayEventsAfter(first, {
    async send (_id, message) {
      messages.push(message)
      if (messages.length > 2) return
      for (const stream of ['b', 'a']) await buffer.storeEvent(stream, notification(`${stream} ${messages.length}`))
    }
  })
  t.strictSame(messages, [notification('2'), notification('a 1'), notification('a 2')])
})

t.test('says whether a stream has had its response', async (t) => {
  const buffer = new EventBuffer(10)
  const ok = await buffer.storeEvent('ok', PRIMING)
  const failed = await buffer.storeEvent('failed', PRIMING)
  t.match(await buffer.find(ok), { complete: false })
  await buffer.storeEvent('ok', notification('on the way'))
  t.match(await buffer.find(ok), { complete: false })
  await buffer.storeEvent('ok', response(1))
  await buffer.storeEvent('failed', { jsonrpc: '2.0', id: 2, error: { code: 1, message: 'no' } })
  t.match(await buffer.find(ok), { complete: true })
  t.match(await buffer.find(failed), { complete: true })
})

t.test('ids that it has not given are of no stream', async (t) => {
  const buffer = new EventBuffer(10)
  const other = new EventBuffer(10)
  const id = await buffer.storeEvent(GET_STREAM, notification('1'))
  const mark = id.split('_').at(-2)
  const wrong = [
    '', '_', GET_STREAM, `${GET_STREAM}_`, `${GET_STREAM}_1`, `${GET_STREAM}__1`, `${GET_STREAM}_${mark}_`,
    `${GET_STREAM}_${mark}_-1`, `${GET_STREAM}_${mark}_1e0`, `${GET_STREAM}_${mark}_1.0`, `${GET_STREAM}_${mark}_x`,
    `${GET_STREAM}_${mark}_2`, `${GET_STREAM}_${mark}_99999999999999999999`, `other_${mark}_1`, `__proto___${mark}_1`, ` ${id}`, `${id} `,
    `${id}\n`, await other.storeEvent(GET_STREAM, notification('1'))
  ]
  for (const eventId of wrong) {
    t.equal(await buffer.find(eventId), undefined, JSON.stringify(eventId))
    t.strictSame((await replay(buffer, eventId)).messages, [])
  }
  t.ok(await buffer.find(id))
})

t.test('a stream that is over is forgotten with its last event', async (t) => {
  const buffer = new EventBuffer(2)
  const priming = await buffer.storeEvent('a', PRIMING)
  await buffer.storeEvent('a', response(1))
  await buffer.storeEvent('b', PRIMING)
  t.ok(await buffer.find(priming), 'its response is still here')
  await buffer.storeEvent('b', response(2))
  t.equal(await buffer.find(priming), undefined)
})

t.test('a call that is running can be resumed after its events have gone', async (t) => {
  const buffer = new EventBuffer(2)
  const priming = await buffer.storeEvent('slow', PRIMING)
  for (let index = 0; index < 10; index++) await buffer.storeEvent(GET_STREAM, notification(String(index)))
  t.match(await buffer.find(priming), { complete: false })
  await buffer.storeEvent('slow', response(1))
  t.strictSame((await replay(buffer, priming)).messages, [response(1)])
})

t.test('calls that never end are not remembered for ever', async (t) => {
  const buffer = new EventBuffer(5)
  const ids: string[] = []
  for (let index = 0; index < 1000; index++) ids.push(await buffer.storeEvent(`cancelled ${index}`, PRIMING))
  const found = await Promise.all(ids.map((id) => buffer.find(id)))
  t.ok(found.filter((stream) => stream !== undefined).length <= 10)
})
