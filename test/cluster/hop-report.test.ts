import t from 'tap'
import { formatReport, parseReport } from '../../lib/cluster/hop-report.js'

t.test('a report says what is missing, and what was written of the others', (t) => {
  const served = new Map([
    ['b', { isAnswered: false, written: 56, encoding: '' }],
    ['c', { isAnswered: false, written: 0, encoding: '' }],
    ['d', { isAnswered: true, written: 9, encoding: '' }],
    ['e', { isAnswered: false, written: 1, encoding: '' }],
    ['f', { isAnswered: false, written: 2, encoding: 'gzip' }],
    ['g', { isAnswered: false, written: 3, encoding: 'br, x=y' }]
  ])
  const report = formatReport('a,b,c,d,f,g', served)
  t.equal(report, 'a,b=1k,d,f=2=gzip,g=3=br%2C%20x%3Dy')
  t.strictSame(parseReport(report), {
    missing: new Set(['a', 'd']),
    written: new Map([
      ['b', { bytes: 56, encoding: '' }],
      ['f', { bytes: 2, encoding: 'gzip' }],
      ['g', { bytes: 3, encoding: 'br, x=y' }]
    ])
  })
  t.end()
})

t.test('a report that says nothing is of nothing', (t) => {
  t.equal(formatReport('c', new Map([['c', { isAnswered: false, written: 0, encoding: '' }]])), '')
  t.strictSame(parseReport(''), { missing: new Set(['']), written: new Map() })
  t.end()
})
