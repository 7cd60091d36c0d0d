// The example with Prometheus as a user starts it: what it is scraped for, and that the dashboard asks for nothing else.
import t from 'tap'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readScript, ROOT, start } from '../helpers/processes/child.js'
import { call, openSession } from '../helpers/clients/http-client.js'
import { documented } from '../helpers/observe/channels.js'
import { freePort } from '../helpers/redis/redis-server.js'

t.setTimeout(60_000)

/** As the exporter for Prometheus spells it. */
function toPrometheus ([name, [kind = '']]: [string, string[]]): string {
  return `${name.replaceAll('.', '_')}${kind === 'counter' ? '_total' : ''}`
}

t.test('Prometheus scrapes what the docs say', async (t) => {
  const [port, metricsPort] = [await freePort(), await freePort()]
  const server = await start(t, ...readScript('start:prometheus'), { PORT: `${port}`, METRICS_PORT: `${metricsPort}` })
  await server.says('Metrics: ')
  const client = await openSession(t, new URL(`http://127.0.0.1:${port}/mcp`))
  await (await client.post(call(2, 'list_notes'))).end()
  const scrape = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
  t.match(scrape, /^fastify_mcp_sessions_sessions_active(\{.*\})? 1$/m)
  t.match(scrape, /^mcp_server_operation_duration_count\{.*gen_ai_tool_name="list_notes".*\} 1$/m)
  const names = new Set(Array.from(documented('Metrics'), toPrometheus))
  for (const [, name = ''] of scrape.matchAll(/^# TYPE (\S+)/gm)) t.ok(names.has(name) || name === 'target_info', name)
})

t.test('the dashboard shows metrics that there are', async (t) => {
  const dashboard = readFileSync(join(ROOT, 'examples/grafana-dashboard.json'), 'utf8')
  const names = new Set(Array.from(documented('Metrics'), toPrometheus))
  const asked = new Set(Array.from(dashboard.matchAll(/\b(?:mcp_server|fastify_mcp_sessions_(?:sessions|requests|streams|redis))\w+/g), ([name]) => name.replace(/_(bucket|count|sum)$/, '')))
  for (const name of asked) t.ok(names.has(name), name)
  t.ok(asked.size >= 10)
})
