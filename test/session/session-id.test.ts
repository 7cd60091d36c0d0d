import t from 'tap'
import { hashSessionId, isSessionId, SESSION_HEADER } from '../../lib/session/session-id.js'

t.test('the header is spelled as Node.js spells it', async (t) => {
  t.equal(SESSION_HEADER, 'mcp-session-id')
})

t.test('visible ASCII characters make an id', async (t) => {
  let visible = ''
  for (let code = 0; code < 256; code++) {
    const character = String.fromCharCode(code)
    const isVisible = code >= 0x21 && code <= 0x7e
    if (isVisible) visible += character
    t.equal(isSessionId(`a${character}b`), isVisible, `character ${code}`)
    t.equal(isSessionId(character), isVisible, `character ${code} alone`)
  }
  t.equal(visible.length, 94)
  t.ok(isSessionId(visible))
})

t.test('an id has 1 to 256 characters', async (t) => {
  t.notOk(isSessionId(''))
  t.ok(isSessionId('x'))
  t.ok(isSessionId('x'.repeat(256)))
  t.notOk(isSessionId('x'.repeat(257)))
})

t.test('an id has nothing before or after it', async (t) => {
  for (const id of ['id\n', '\nid', 'id\r\n', ' id', 'id ', 'id\0', 'a, b', 'é', '\u{1f600}', '\u2028']) {
    t.notOk(isSessionId(id), encodeURI(id))
  }
})

t.test('names of the language are ids like any other', async (t) => {
  for (const id of ['__proto__', 'constructor', 'toString', 'null', '0', 'NaN']) t.ok(isSessionId(id), id)
})

t.test('what is no string is no id', async (t) => {
  for (const value of [undefined, null, 7, ['id'], { toString: () => 'id' }, Symbol('id'), Object('id')]) {
    t.notOk(isSessionId(value))
  }
})

t.test('the hash names an id without giving it away', async (t) => {
  const id = '3b241101-e2bb-4255-8caf-4136c566a962'
  const hash = hashSessionId(id)
  t.match(hash, /^[0-9a-f]{12}$/)
  t.equal(hashSessionId(id), hash)
  t.not(hashSessionId('3b241101-e2bb-4255-8caf-4136c566a963'), hash)
  t.equal(hashSessionId('abc'), 'ba7816bf8f01', 'the start of SHA-256')
})
