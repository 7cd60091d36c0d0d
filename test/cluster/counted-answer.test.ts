import Fastify from 'fastify'
import type { ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import t from 'tap'
import { CountedAnswer } from '../../lib/cluster/counted-answer.js'

t.test('what is written is counted in bytes, however it is written', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const requested = new Promise<ServerResponse>((resolve) => app.get('/', (_request, reply) => {
    reply.hijack()
    resolve(reply.raw)
  }))
  const answered = fetch(await app.listen({ port: 0, host: '127.0.0.1' }))
  const response = await requested
  const answer = new CountedAnswer(response)
  for (const chunk of ['four', new Uint8Array(3), Buffer.from('four')]) response.write(chunk)
  for (const [chunk, encoding] of [['ü', 'utf8'], ['ü', 'latin1'], ['ff00', 'hex']] as const) response.write(chunk, encoding)
  t.equal(answer.written, 4 + 3 + 4 + 2 + 1 + 2)
  await new Promise<void>((resolve) => response.write('called back', () => resolve()))
  Readable.from([Buffer.from('piped')]).pipe(response, { end: false })
  while (answer.written < 16 + 11 + 5) await new Promise(setImmediate)
  t.notOk(answer.isAnswered)
  t.equal(answer.encoding, '')
  response.end('the end')
  t.ok(answer.isAnswered)
  t.equal((await (await answered).arrayBuffer()).byteLength, 16 + 11 + 5 + 7)
})

t.test('how it is packed is known, however that was said', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const encodings: string[] = []
  app.addHook('onRequest', async (_request, { raw }) => {
    const answer = new CountedAnswer(raw)
    raw.setHeader('x-node', 'this one').once('finish', () => { encodings.push(answer.encoding) })
  })
  app.get('/reply', (_request, reply) => reply.header('content-encoding', 'gzip').send(gzipSync('packed')))
  app.get('/raw', (_request, reply) => {
    reply.hijack()
    reply.raw.writeHead(200, { 'Content-Encoding': 'br' }).end(brotliCompressSync('packed'))
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  for (const path of ['/reply', '/raw']) t.equal(await (await fetch(`${url}${path}`)).text(), 'packed')
  t.strictSame(encodings, ['gzip', 'br'])
})
