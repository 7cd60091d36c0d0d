import t from 'tap'
import { formatReport, parseReport } from '../../lib/cluster/hop-report.js'

t.test('a report says what is missing, and what was written of the others', (t) => {
  const served = new Map([
    ['b', { isAnswered: false, written: 56 }],
    ['c', { isAnswered: false, written: 0 }],
    ['d', { isAnswered: true, written: 9 }],
    ['e', { isAnswered: false, written: 1 }]
  ])
  const report = formatReport('a,b,c,d', served)
  t.equal(report, 'a,b=1k,d')
  t.strictSame(parseReport(report), { missing: new Set(['a', 'd']), written: new Map([['b', 56]]) })
  t.end()
})

t.test('a report that says nothing is of nothing', (t) => {
  t.equal(formatReport('c', new Map([['c', { isAnswered: false, written: 0 }]])), '')
  t.strictSame(parseReport(''), { missing: new Set(['']), written: new Map() })
  t.end()
})
