import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import t, { type Test } from 'tap'
import { createRoundRobinProxy } from '../../examples/shared/round-robin-proxy.js'
import { freePort } from '../helpers/redis/redis-server.js'

async function listenOn (t: Test, server: Server, port = 0): Promise<number> {
  server.listen(port, '127.0.0.1')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

async function proxyTo (t: Test, ...nodes: ReadonlyArray<RequestListener | undefined>): Promise<string> {
  const ports: number[] = []
  for (const answer of nodes) ports.push(answer === undefined ? await freePort() : await listenOn(t, createServer(answer)))
  return `http://127.0.0.1:${await listenOn(t, createRoundRobinProxy(ports))}/`
}

const say = (text: string): RequestListener => (_request, response) => { response.end(text) }

async function ask (url: string, times: number): Promise<string[]> {
  const answers: string[] = []
  for (let time = 0; time < times; time++) answers.push(await (await fetch(url)).text())
  return answers
}

t.test('each node has its turn', async (t) => {
  const answers = await ask(await proxyTo(t, say('one'), say('two')), 4)
  t.strictSame(answers, ['one', 'two', 'one', 'two'])
})

t.test('a node that takes no connection is passed over', async (t) => {
  t.strictSame(new Set(await ask(await proxyTo(t, undefined, say('alive')), 4)), new Set(['alive']))
})

t.test('when no node takes one, the client hears so', async (t) => {
  const response = await fetch(await proxyTo(t, undefined, undefined))
  t.equal(response.status, 502)
  t.equal(await response.text(), 'No node has answered\n')
})

t.test('a request that a node may have begun is not given to another', async (t) => {
  const fail: RequestListener = (request) => { request.socket.destroy() }
  t.equal((await fetch(await proxyTo(t, fail, fail))).status, 502)
})

t.test('an answer that breaks off breaks off for the client', async (t) => {
  const breakOff: RequestListener = (request, response) => {
    if (request.url === '/health') response.end()
    else response.write('half', () => request.socket.destroy())
  }
  await t.rejects((await fetch(await proxyTo(t, breakOff))).text())
})
