import { McpServer } from '@modelcontextprotocol/server'
import t from 'tap'
import { z } from 'zod'
import { memoiseSchema, type JsonConvertibleSchema } from '../../index.js'
import { buildEndpoint } from '../helpers/apps/endpoint-app.js'
import { call, HttpClient, openSession } from '../helpers/clients/http-client.js'
import { modernRequest } from '../helpers/mcp-servers/modern-handler.js'

const TARGET = { target: 'draft-2020-12' }

/** A schema of zod, and how often it is converted. */
function createCounted () {
  const schema = z.object({ text: z.string().transform((text) => text.length) })
  const converted: string[] = []
  const { input, output } = schema['~standard'].jsonSchema
  Object.assign(schema['~standard'].jsonSchema, {
    input (options: typeof TARGET) {
      converted.push('input')
      return input(options)
    },
    output (options: typeof TARGET) {
      converted.push('output')
      return output(options)
    }
  })
  return { schema, converted }
}

t.test('servers of both eras convert it once, and validate with it as ever', async (t) => {
  const { schema, converted } = createCounted()
  const inputSchema = memoiseSchema(schema)
  const plain = createCounted()
  let servers = 0
  const { listen } = await buildEndpoint(t, {
    endpoint: {
      modern: true,
      createServer () {
        servers++
        const server = new McpServer({ name: 'memo', version: '1' })
        // The type of the argument is that of the schema.
        server.registerTool('length', { inputSchema }, ({ text }) => ({ content: [{ type: 'text', text: text.toFixed(1) }] }))
        server.registerTool('plain', { inputSchema: plain.schema }, () => ({ content: [] }))
        return server
      }
    }
  })
  const url = await listen()
  const client = new HttpClient(t, url)
  const send = async (method: string, params = {}) => {
    const { body, headers } = modernRequest(7, method, params)
    return (await (await client.post(body, headers)).end()).messages
  }
  const lists = [await send('tools/list'), await send('tools/list')]
  for (const [message] of lists) {
    t.match(message, { result: { tools: [{ name: 'length', inputSchema: { type: 'object', properties: { text: { type: 'string' } }, required: ['text'] } }, {}] } })
  }
  t.strictSame(lists[0], lists[1])
  for (const text of ['one', 'three']) {
    t.match(await send('tools/call', { name: 'length', arguments: { text } }), [{ result: { content: [{ text: `${text.length}.0` }] } }])
  }
  t.match(await send('tools/call', { name: 'length', arguments: { text: 1 } }), [{ result: { isError: true } }])
  const session = await openSession(t, url)
  t.match((await (await session.post({ jsonrpc: '2.0', id: 2, method: 'tools/list' })).end()).messages, [{ result: { tools: [{ name: 'length' }, {}] } }])
  t.match((await (await session.post(call(3, 'length', { text: 'four' }))).end()).messages, [{ result: { content: [{ text: '4.0' }] } }])
  t.equal(servers, 6)
  t.strictSame(converted, ['input'])
  t.ok(plain.converted.length >= 3, 'which it is not without')
})

t.test('each side and each dialect is converted once, and what is shared cannot be changed', async (t) => {
  const { schema, converted } = createCounted()
  const { input } = memoiseSchema(schema)['~standard'].jsonSchema
  t.equal(input({ target: 'draft-2020-12' }), input({ target: 'draft-2020-12' }))
  t.not(input({ target: 'draft-07' }), input({ target: 'draft-2020-12' }))
  const json = input({ target: 'draft-07' })
  t.ok(Object.isFrozen(json) && Object.isFrozen(json['properties']) && Object.isFrozen(Object(json['properties']).text))
  t.not(input({ target: 'draft-07', libraryOptions: {} }), json, 'what the library alone understands is left to it')
  t.strictSame(converted, ['input', 'input', 'input'])
  const item = memoiseSchema(z.object({ at: z.number() }))
  t.match(item['~standard'].jsonSchema.output(TARGET), { properties: { at: { type: 'number' } } })
})

t.test('a schema that refers to itself', async (t) => {
  const list = { $defs: {} as Record<string, unknown> }
  Object.assign(list.$defs, { list })
  const schema: JsonConvertibleSchema = { '~standard': { jsonSchema: { input: () => list, output: () => list } } }
  t.ok(Object.isFrozen(memoiseSchema(schema)['~standard'].jsonSchema.input(TARGET)))
})

t.test('it is what the schema is', async (t) => {
  const schema = z.object({ text: z.string() })
  const memoised = memoiseSchema(schema)
  t.type(memoised, z.ZodObject)
  t.equal(memoised.shape, schema.shape)
  t.strictSame(memoised.parse({ text: 'x' }), { text: 'x' })
  t.ok(memoised.extend({ more: z.string() }).safeParse({ text: 'x', more: 'y' }).success)
  t.equal(memoiseSchema(schema), memoised, 'and there is one of each')
  t.equal(memoiseSchema(memoised), memoised)
})

t.test('a schema of a library that has no JSON Schema is refused', async (t) => {
  const old = Object({ '~standard': { vendor: 'old', version: 1 } })
  t.throws(() => memoiseSchema(old), /^memoiseSchema\(\) takes a schema that implements Standard JSON Schema/)
})
