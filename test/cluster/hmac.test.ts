import { createHmac } from 'node:crypto'
import t from 'tap'
import { createSigner } from '../../lib/cluster/hmac.js'

t.test('it signs as createHmac does, whatever the secret and the text', (t) => {
  const secrets = ['', 'k', '\0\x7f', 'x'.repeat(63), 'x'.repeat(64), 'x'.repeat(65), 'x'.repeat(1000), 'schlüssel', 'ключ', '\u{1f511}']
  const texts = ['', 'text', 'ümlaut \u{1f511}', '\0', 'long '.repeat(10_000)]
  for (const secret of secrets) {
    const sign = createSigner(secret)
    for (const text of texts) t.equal(sign(text), createHmac('sha256', secret).update(text).digest('base64url'))
  }
  t.end()
})

t.test('it is the one of RFC 4231, test case 2', (t) => {
  const signature = createSigner('Jefe')('what do ya want for nothing?')
  t.equal(Buffer.from(signature, 'base64url').toString('hex'), '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843')
  t.end()
})
