import t from 'tap'
import { readAnswer, signAnswer, signHop, verifyHop } from '../../lib/cluster/hop-signature.js'

const SECRET = 'the secret of the cluster'
const REQUEST = { node: 'one', method: 'POST', url: '/mcp?x=1', sessionId: 'abc' }
const CALLER = { ip: '203.0.113.7', protocol: 'https', host: 'api.example.com:8443' }

t.test('a signature says who is calling, and for which node it is', async (t) => {
  const { header, proof } = signHop(REQUEST, CALLER, SECRET)
  t.strictSame(verifyHop(header, REQUEST, SECRET), { node: 'one', id: '', caller: CALLER, proof })
  const strange = { ip: '::1', protocol: 'http', host: 'a "b" \\ c\u00e9' }
  t.strictSame(verifyHop(signHop(REQUEST, strange, SECRET).header, REQUEST, SECRET)?.caller, strange)
})

t.test('it is good for this very request and nothing else', async (t) => {
  const { header } = signHop(REQUEST, CALLER, SECRET)
  for (const [what, value] of Object.entries({ method: 'DELETE', url: '/mcp?x=2', sessionId: 'abd' })) {
    t.equal(verifyHop(header, { ...REQUEST, [what]: value }, SECRET), undefined, what)
  }
  t.equal(verifyHop(header, REQUEST, 'another'), undefined, 'secret')
  t.equal(verifyHop(signHop(REQUEST, CALLER, '').header, REQUEST, ''), undefined, 'no secret yet')
  t.equal(verifyHop(header.replace('203.0.113.7', '203.0.113.8'), REQUEST, SECRET), undefined, 'caller')
  t.equal(verifyHop(header.replace(' one ', ' two '), REQUEST, SECRET), undefined, 'node')
  const named = signHop(REQUEST, CALLER, SECRET, 'a1').header
  t.equal(verifyHop(named, REQUEST, SECRET)?.id, 'a1')
  t.equal(verifyHop(named.replace('"a1"', '"a2"'), REQUEST, SECRET), undefined, 'id')
  for (const made of [undefined, [header, header], '', 'x', ' ', '  ', 'made.up', header.slice(1), `A${header}`, `${'A'.repeat(22)} one {`]) {
    t.equal(verifyHop(made, REQUEST, SECRET), undefined, String(made))
  }
})

t.test('an answer proves that who gives it knows the secret', async (t) => {
  const { header, proof } = signHop(REQUEST, CALLER, SECRET)
  t.notOk(header.includes(proof))
  for (const state of ['served', 'refused', 'misdirected'] as const) t.equal(readAnswer(signAnswer(proof, state), proof), state)
  for (const wrong of [undefined, '', proof, 'served', `${proof} else`, [signAnswer(proof, 'served')]]) t.equal(readAnswer(wrong, proof), undefined)
})
