import t from 'tap'
import { formatEvent, formatPriming } from '../../../lib/endpoint/transport/event-format.js'

t.test('an event has a name, an id if there is one, and its message', async (t) => {
  t.equal(formatEvent('{"a":1}'), 'event: message\ndata: {"a":1}\n\n')
  t.equal(formatEvent('{"a":1}', '5/get'), 'event: message\nid: 5/get\ndata: {"a":1}\n\n')
})

t.test('a priming event has an id, and says when to come back', async (t) => {
  t.equal(formatPriming('5/get', 1500), 'id: 5/get\nretry: 1500\ndata: \n\n')
})
