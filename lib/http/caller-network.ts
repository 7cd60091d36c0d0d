import { isIPv4, isIPv6 } from 'node:net'

// How much is kept of what is no IP address: a proxy can have written anything, as long as a header may be.
const LONGEST_TEXT = 64

/**
 * The network of an address, by which anonymous callers are counted: of IPv6 its /64, for whoever has one address in it has
 * all the others (RFC 7421). IPv4 written as IPv6 is IPv4.
 */
export function readNetwork (ip: string): string {
  if (isIPv4(ip)) return ip
  if (!isIPv6(ip)) return ip.slice(0, LONGEST_TEXT)
  const groups = readGroups(ip)
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff
  if (isMapped) return groups.slice(6).flatMap((group) => [group >> 8, group & 0xff]).join('.')
  return `${groups.slice(0, 4).map((group) => group.toString(16)).join(':')}::/64`
}

// The URL parser writes every address in the same way, without leading zeros and without dots.
function readGroups (ip: string): number[] {
  const [address] = ip.split('%', 1)
  const [head = '', tail = ''] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const [before, after] = [parseGroups(head), parseGroups(tail)]
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after]
}

function parseGroups (text: string): number[] {
  return text === '' ? [] : text.split(':').map((group) => parseInt(group, 16))
}
