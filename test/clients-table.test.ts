import { readFileSync } from 'node:fs'
import t from 'tap'
import { renderTable } from './clients/clients-table.js'

t.test('the table of clients in the documentation is what the tests of the clients have seen', async (t) => {
  const page = readFileSync(new URL('../docs/eras.md', import.meta.url), 'utf8')
  t.ok(page.includes(`\n${renderTable()}\n`), `docs/eras.md should have this table:\n${renderTable()}`)
})
