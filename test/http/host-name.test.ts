import t from 'tap'
import { parseHost } from '../../lib/http/host-name.js'
import { createRandom } from '../helpers/chance/random.js'

const PIECES = ['a', 'b-c', 'localhost', 'LOCAL', '127', '0', '01', '1', '256', '0x7f', '0x', 'x1', '1x', 'xn--', 'xn--bcher-kva', 'bücher', '-', '_', '2130706433']

t.test('a name is what a URL makes of it, whether or not one has to be asked', async (t) => {
  const random = createRandom(5)
  let named = 0
  for (let round = 0; round < 20_000; round++) {
    const name = Array.from({ length: 1 + random.below(4) }, () => random.pick(PIECES)).join('.')
    const url = `http://${name}`
    const right = URL.canParse(url) ? new URL(url).hostname : undefined
    if (parseHost(name)?.name !== right) t.equal(parseHost(name)?.name, right, name)
    if (right !== undefined) named++
  }
  t.ok(named > 5000, `${named} of 20,000 were names`)
})

t.test('a port is kept as a number', async (t) => {
  t.strictSame(parseHost('a.com:0080'), { name: 'a.com', port: '80' })
  t.equal(parseHost('a.com:65536'), undefined)
})
