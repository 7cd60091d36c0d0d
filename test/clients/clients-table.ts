import { CLIENTS, type Behaviour, type ClientCase } from './clients.js'

const HEAD = [
  '| client | asks `server/discover` first | era without `modern` | era with `modern` | progress | elicitation | when its session is gone | DELETE at `close()` |',
  '|---|---|---|---|---|---|---|---|'
]

const GONE: Record<ClientCase['comesBack'], string> = {
  'first call': 'comes back by itself: the first call goes through',
  'second call': 'comes back by itself: the first call fails, the second goes through',
  never: 'its calls fail: make a new client',
  'a session for each command': 'has a session for each command'
}

/** The table of clients in docs/eras.md: what the tests of them have seen. */
export function renderTable (): string {
  return [...HEAD, ...CLIENTS.map(renderRow)].join('\n')
}

function renderRow ({ title, plain, modern, comesBack }: ClientCase): string {
  const { probes, progress, elicits } = modern
  const cells = [
    title, yes(probes), plain === null ? 'cannot connect' : plain.era, modern.era, yes(progress), yes(elicits),
    plain === null ? 'has none' : GONE[comesBack], renderDeletes(plain)
  ]
  return `| ${cells.join(' | ')} |`
}

function renderDeletes (plain: Behaviour | null): string {
  return plain === null ? 'has none' : plain.deletes ? 'yes' : 'never'
}

function yes (is: boolean): string {
  return is ? 'yes' : 'no'
}
