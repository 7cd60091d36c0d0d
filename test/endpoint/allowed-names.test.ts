// What allowedHosts and allowedOrigins may say, and which names they are for.
import t from 'tap'
import { checkHosts, checkOrigins, matchesHost, matchesOrigin } from '../../lib/endpoint/allowed-names.js'
import { parseHost, parseOrigin } from '../../lib/http/host-name.js'

function allowsHost (entry: string, text: string): boolean {
  const host = parseHost(text)
  if (host === undefined) throw new Error(`${text} is no host`)
  return checkHosts([entry])?.some((pattern) => matchesHost(pattern, host)) === true
}

function allowsOrigin (entry: string, text: string): boolean {
  const origin = parseOrigin(text)
  if (origin === undefined) throw new Error(`${text} is no origin`)
  return checkOrigins([entry])?.some((pattern) => matchesOrigin(pattern, origin)) === true
}

for (const [entry, hosts, others] of [
  ['a.com', ['a.com', 'A.Com', 'a.com:80', 'a.com:8443'], ['b.a.com', 'aa.com', 'a.com.evil', 'a.co']],
  ['A.COM:8080', ['a.com:8080', 'a.com:08080'], ['a.com', 'a.com:80', 'b.a.com:8080']],
  ['a.com:443', ['a.com:443', 'a.com'], ['a.com:80', 'a.com:8443']],
  ['a.com:80', ['a.com:80', 'a.com'], ['a.com:443']],
  ['*.a.com', ['b.a.com', 'c.b.A.com:1234', 'x.a.com'], ['a.com', 'ba.com', 'b.a.com.evil', 'a.com.b']],
  ['*.A.com:8080', ['b.a.com:8080'], ['b.a.com', 'b.a.com:80', 'a.com:8080']],
  ['*.localhost', ['a.localhost'], ['localhost']],
  ['*', ['a.com', 'localhost', '[::1]:3000', '127.0.0.1'], []],
  ['*:8080', ['a.com:8080'], ['a.com']],
  ['[::1]', ['[::1]', '[::1]:3000', '[0:0:0:0:0:0:0:1]'], ['[::2]', '127.0.0.1']],
  ['::1', ['[::1]', '[::1]:3000'], ['[::2]']],
  ['[2001:DB8::1]:3000', ['[2001:db8::1]:3000', '[2001:db8:0::1]:3000'], ['[2001:db8::1]']],
  ['127.0.0.1', ['127.0.0.1', '127.0.0.1:1', '127.1'], ['127.0.0.2']],
  ['bücher.example', ['xn--bcher-kva.example', 'BÜCHER.example'], ['bucher.example']],
  ['my_service', ['my_service:3000'], ['my-service']]
] as const) {
  t.test(`host ${entry}`, async (t) => {
    for (const host of hosts) t.ok(allowsHost(entry, host), `${host} is allowed`)
    for (const host of others) t.notOk(allowsHost(entry, host), `${host} is not`)
  })
}

for (const [entry, origins, others] of [
  ['https://a.com', ['https://a.com', 'https://a.com:443'], ['http://a.com', 'https://a.com:8443', 'https://b.a.com', 'https://a.com.evil']],
  ['https://a.com:443', ['https://a.com'], ['https://a.com:8443']],
  ['HTTP://A.com:80', ['http://a.com'], ['http://a.com:443']],
  ['http://localhost:5173', ['http://localhost:5173'], ['http://localhost', 'https://localhost:5173']],
  ['https://*.a.com', ['https://b.a.com', 'https://c.b.a.com'], ['https://a.com', 'https://ba.com', 'http://b.a.com', 'https://b.a.com:8443', 'https://b.a.com.evil']],
  ['https://*.a.com:8443', ['https://b.a.com:8443'], ['https://b.a.com', 'https://a.com:8443']],
  ['https://*', ['https://a.com', 'https://a.com:8443', 'https://[::1]'], ['http://a.com', 'null', 'file://']],
  ['https://*:8443', ['https://a.com:8443'], ['https://a.com']],
  ['http://[::1]:3000', ['http://[::1]:3000'], ['http://[::1]']],
  ['null', ['null'], ['file://', 'https://null']],
  ['file://', ['file://'], ['null']],
  ['vscode-webview://0123ABC', ['vscode-webview://0123abc'], ['https://0123abc', 'vscode-webview://other']],
  ['chrome-extension://*', ['chrome-extension://abc'], ['moz-extension://abc']]
] as const) {
  t.test(`origin ${entry}`, async (t) => {
    for (const origin of origins) t.ok(allowsOrigin(entry, origin), `${origin} is allowed`)
    for (const origin of others) t.notOk(allowsOrigin(entry, origin), `${origin} is not`)
  })
}

for (const [entry, fix] of [
  ['https://a.com', 'a.com'],
  ['https://a.com:8443/mcp?x=1#y', 'a.com:8443'],
  ['a.com/', 'a.com'],
  ['//a.com', 'a.com'],
  ['a.com/mcp', 'a.com'],
  [' a.com\n', 'a.com'],
  ['user:secret@a.com', 'a.com'],
  ['a.com:*', 'a.com'],
  ['.a.com', '*.a.com'],
  ['*a.com', '*.a.com'],
  ['https://*.a.com/', '*.a.com'],
  ['http://[::1]:3000/', '[::1]:3000']
] as const) {
  t.test(`host ${JSON.stringify(entry)} is refused, and the fix is ${fix}`, async (t) => {
    t.throws(() => checkHosts(['localhost', entry]), new TypeError(
      `Option "allowedHosts" must be a list of hosts such as "a.com", "*.a.com:8080" or "[::1]": write "${fix}", got ${JSON.stringify(entry)} (string)`
    ))
  })
}

for (const entry of ['', ' ', '/', '*.', '*..com', '*.*', '**', 'a.*.com', 'b*.a.com', '*.127.0.0.1', '*.[::1]', '[::1', 'a.com:99999', 'a.com:', ':80', 'a b', '%', '1.2.3.4.5']) {
  t.test(`host ${JSON.stringify(entry)} is refused`, async (t) => {
    t.throws(() => checkHosts([entry]), new TypeError(
      `Option "allowedHosts" must be a list of hosts such as "a.com", "*.a.com:8080" or "[::1]", got ${JSON.stringify(entry)} (string)`
    ))
  })
}

for (const [entry, fix] of [
  ['*', 'https://*'],
  ['https://a.com/', 'https://a.com'],
  ['https://a.com:8443/app?x=1', 'https://a.com:8443'],
  [' https://a.com', 'https://a.com'],
  ['a.com', 'https://a.com'],
  ['//a.com', 'https://a.com'],
  ['*.a.com', 'https://*.a.com'],
  ['https://*a.com', 'https://*.a.com'],
  ['https://user@a.com', 'https://a.com'],
  ['localhost:5173', 'http://localhost:5173'],
  ['127.0.0.1', 'http://127.0.0.1'],
  ['file:///', 'file://']
] as const) {
  t.test(`origin ${JSON.stringify(entry)} is refused, and the fix is ${fix}`, async (t) => {
    t.throws(() => checkOrigins(['null', entry]), new TypeError(
      `Option "allowedOrigins" must be a list of origins such as "https://a.com", "https://*.a.com:8443" or "null": write "${fix}", got ${JSON.stringify(entry)} (string)`
    ))
  })
}

for (const entry of ['', ' ', 'https://', 'https://*.', 'https://a.*.com', 'https://*.127.0.0.1', 'http://localhost:*', 'https://a.com:99999', 'a b', '://']) {
  t.test(`origin ${JSON.stringify(entry)} is refused`, async (t) => {
    t.throws(() => checkOrigins([entry]), new TypeError(
      `Option "allowedOrigins" must be a list of origins such as "https://a.com", "https://*.a.com:8443" or "null", got ${JSON.stringify(entry)} (string)`
    ))
  })
}

t.test('every fix is taken', async (t) => {
  for (const fix of ['a.com', 'a.com:8443', '*.a.com', '[::1]:3000']) t.doesNotThrow(() => checkHosts([fix]))
  for (const fix of ['https://*', 'https://a.com', 'https://*.a.com', 'http://localhost:5173', 'file://']) t.doesNotThrow(() => checkOrigins([fix]))
})

t.test('lists may be left out; one of hosts may not be empty', async (t) => {
  t.equal(checkHosts(undefined), undefined)
  t.equal(checkOrigins(undefined), undefined)
  t.strictSame(checkOrigins([]), [])
  t.throws(() => checkHosts([]), new TypeError(
    'Option "allowedHosts" must be left out rather than empty: an empty list refuses every request'
  ))
})

t.test('what is no host, and what is no origin', async (t) => {
  for (const text of [
    '', ':80', '.a.com', 'a.com:', 'a.com:x', 'a.com:65536', 'a.com:123456', 'a:b@localhost', 'localhost@a.com', 'a.com/', 'a.com?', 'a.com#', 'a\\b', 'a b', 'a\tb',
    '%6cocalhost', '*', '::1', '[::1', '[::1]x', '[1.2.3.4]', '[x]', 'xn--', '1.2.3.4.5', 'a,b c'
  ]) t.equal(parseHost(text), undefined, text)
  for (const text of [
    '', 'NULL', 'localhost', '//localhost', 'http://', 'http:localhost', 'http:///localhost', 'http://a.com/', 'http://a.com, http://b.com', 'http://a@b.com',
    'data:text/html,localhost', '1http://a.com', 'http://a.com:x'
  ]) t.equal(parseOrigin(text), undefined, text)
  t.strictSame(parseHost('A.com:080'), { name: 'a.com', port: '80' })
  t.strictSame(parseOrigin('HTTPS://A.com:443'), { scheme: 'https', name: 'a.com', port: '' })
})
