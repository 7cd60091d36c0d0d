/** Which sessions are shown, and in what order. */
export interface TableQuery {
  /** In lower case; empty: all of them. */
  readonly search: string
  readonly sort: SortColumn
  readonly order: 'asc' | 'desc'
  readonly limit: number
}

export type SortColumn = typeof COLUMNS[number]

const COLUMNS = ['hash', 'age', 'idle', 'client', 'revision', 'inFlight', 'streams', 'principal', 'node'] as const
const NAMES = ['search', 'sort', 'order', 'limit']
const LONGEST_SEARCH = 200
const DEFAULT_LIMIT = 100
const MOST_ROWS = 1000

/** The query of a URL, or what is wrong with it. */
export function readQuery (query: Readonly<Record<string, unknown>>): TableQuery | string {
  const unknown = Object.keys(query).find((name) => !NAMES.includes(name))
  if (unknown !== undefined) return 'The query has search, sort, order and limit, and nothing else'
  const { search = '', sort = 'idle', order = 'asc', limit = String(DEFAULT_LIMIT) } = query
  if (typeof search !== 'string' || search.length > LONGEST_SEARCH) {
    return `search must be given once, with at most ${LONGEST_SEARCH} characters`
  }
  const column = COLUMNS.find((name) => name === sort)
  if (column === undefined) return `sort must be one of ${COLUMNS.join(', ')}`
  if (order !== 'asc' && order !== 'desc') return 'order must be asc or desc'
  const rows = typeof limit === 'string' && /^\d{1,4}$/.test(limit) ? Number(limit) : 0
  if (rows < 1 || rows > MOST_ROWS) return `limit must be a whole number from 1 to ${MOST_ROWS}`
  return { search: search.trim().toLowerCase(), sort: column, order, limit: rows }
}
