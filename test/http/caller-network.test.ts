import t from 'tap'
import { readNetwork } from '../../lib/http/caller-network.js'

t.test('an address of IPv4 is itself, however it comes', async (t) => {
  for (const ip of ['10.1.2.255', '::ffff:10.1.2.255', '::FFFF:a01:2ff', '0:0:0:0:0:ffff:0a01:02ff']) t.equal(readNetwork(ip), '10.1.2.255')
})

t.test('an address of IPv6 is its /64, however it is written', async (t) => {
  for (const ip of ['2001:db8:0:1::1', '2001:DB8::1:ffff:0:0:2', '2001:0db8:0000:0001:1:2:3:4', '2001:db8:0:1::10.0.0.1']) {
    t.equal(readNetwork(ip), '2001:db8:0:1::/64')
  }
  t.equal(readNetwork('::1'), '0:0:0:0::/64')
  t.equal(readNetwork('fe80::1%eth0'), 'fe80:0:0:0::/64')
  t.equal(readNetwork('1:2:3:4:5:6:7::'), '1:2:3:4::/64')
})

t.test('what is no address is taken as it is, and not without end', async (t) => {
  t.equal(readNetwork('10.0.0.1:4711'), '10.0.0.1:4711')
  t.equal(readNetwork('x'.repeat(16_000)).length, 64)
})
