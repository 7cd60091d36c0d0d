import Fastify from 'fastify'
import { Writable } from 'node:stream'
import t from 'tap'
import type { LogLevel } from '../../lib/base/logger.js'
import { createFailureLogger } from '../../lib/plugin/fastify-logger.js'

interface Line { level: number, msg: string, logger?: string }

function captureLog (level = 'trace') {
  const lines: Line[] = []
  const stream = new Writable({
    write (chunk, _encoding, done) {
      const { level, msg, logger }: Line = JSON.parse(String(chunk))
      lines.push(logger === undefined ? { level, msg } : { level, msg, logger })
      done()
    }
  })
  const app = Fastify({ logger: { level, stream } })
  return { lines, logger: createFailureLogger(app.log) }
}

t.test('every MCP level but info has the pino level of its severity', async (t) => {
  const expected: Record<LogLevel, number> = {
    debug: 20,
    info: 30,
    notice: 30,
    warning: 40,
    error: 50,
    critical: 60,
    alert: 60,
    emergency: 60
  }
  const { lines, logger } = captureLog()
  const levels = Object.keys(expected) as LogLevel[]
  t.equal(levels.length, 8)
  for (const level of levels) logger.sendLog({ level, data: `a ${level}`, logger: 'Test' })
  t.strictSame(lines, levels.filter((level) => level !== 'info').map((level) => ({ level: expected[level], msg: `a ${level}`, logger: 'Test' })))
})

t.test('an entry without a logger name is written without one', async (t) => {
  const { lines, logger } = captureLog()
  logger.sendLog({ level: 'notice', data: 'plain' })
  t.strictSame(lines, [{ level: 30, msg: 'plain' }])
})

t.test('data that is no string is written as text', async (t) => {
  const { lines, logger } = captureLog()
  logger.sendLog({ level: 'notice', data: 42, logger: 'Test' })
  t.strictSame(lines, [{ level: 30, msg: '42', logger: 'Test' }])
})

t.test('the level of the app decides what is written', async (t) => {
  const { lines, logger } = captureLog('warn')
  logger.sendLog({ level: 'notice', data: 'quiet' })
  logger.sendLog({ level: 'warning', data: 'loud' })
  t.strictSame(lines, [{ level: 40, msg: 'loud' }])
})
