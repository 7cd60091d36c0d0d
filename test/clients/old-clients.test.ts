// Clients of SDK 1 as they came out over time, see package.json beside this.
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { activeRequests } from '../helpers/apps/app.js'
import { buildEndpoint, type EndpointApp } from '../helpers/apps/endpoint-app.js'
import type { SessionEndpointOptions } from '../../lib/endpoint/options.js'
import { until } from '../helpers/waiting/until.js'
import { loadSdk, type OldClient, type OldSdk, type OldTransport } from './old-sdk.js'

t.setTimeout(120_000)

const { dependencies } = z.object({ dependencies: z.record(z.string(), z.string()) })
  .parse(JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8')))

interface Opened extends EndpointApp {
  readonly client: OldClient
  readonly transport: OldTransport
  readonly sessionId: string
  readonly heard: string[]
}

async function open (t: Test, { Client, StreamableHTTPClientTransport, schemas }: OldSdk, endpoint: Partial<SessionEndpointOptions>): Promise<Opened> {
  const built = await buildEndpoint(t, { endpoint })
  const heard: string[] = []
  const client = new Client({ name: 'old', version: '1' }, { capabilities: { sampling: {}, ...(schemas.ElicitRequestSchema !== undefined && { elicitation: {} }) } })
  const transport = new StreamableHTTPClientTransport(await built.listen())
  client.setNotificationHandler(schemas.LoggingMessageNotificationSchema, ({ params }) => { heard.push(`log ${String(params.data)}`) })
  client.setRequestHandler(schemas.CreateMessageRequestSchema, async () => ({ model: 'old', role: 'assistant', content: { type: 'text', text: 'Hello!' } }))
  if (schemas.ElicitRequestSchema !== undefined) client.setRequestHandler(schemas.ElicitRequestSchema, async () => ({ action: 'accept', content: { name: 'Ada' } }))
  await client.connect(transport)
  t.teardown(() => client.close())
  const sessionId = String(transport.sessionId)
  await until(() => activeRequests(built.app, sessionId) === 1, 'the GET stream is open')
  return { ...built, client, transport, sessionId, heard }
}

async function callTool (client: OldClient, name: string, heard: string[] = []): Promise<string | undefined> {
  const onprogress = ({ progress }: { progress: number }): void => { heard.push(`progress ${progress}`) }
  const { content: [first] } = await client.callTool({ name, arguments: { text: 'hello' } }, undefined, { onprogress })
  return first?.text
}

for (const name of Object.keys(dependencies).filter((name) => name.startsWith('sdk-'))) {
  for (const responseMode of ['auto', 'sse', 'json'] as const) {
    for (const resumable of [false, { retryInterval: 20 }] as const) {
      t.test(`${name}, responseMode ${responseMode}${resumable ? ', resumable' : ''}`, async (t) => {
        const sdk = await loadSdk(name)
        const { app, client, transport, sessionId, heard, server } = await open(t, sdk, { responseMode, resumable })
        t.equal(app.sessionManager.get(sessionId)?.protocolVersion, sdk.schemas.LATEST_PROTOCOL_VERSION)
        t.ok((await client.listTools()).tools.some(({ name }) => name === 'echo'))
        t.equal(await callTool(client, 'echo'), 'hello')

        const result = callTool(client, 'steps', heard)
        await until(() => heard.length === 2, 'what comes on the way is heard')
        t.strictSame(heard, ['progress 1', 'log working'])
        server().answer('done')
        t.equal(await result, 'done')

        t.equal(await server().sample(), 'Hello!', 'outside of a call')
        if (sdk.schemas.ElicitRequestSchema !== undefined) t.equal(await callTool(client, 'ask'), 'accept Ada')

        await until(() => activeRequests(app, sessionId) === 1, 'nothing but the GET stream is left')
        await transport.terminateSession()
        t.equal(app.sessionManager.get(sessionId), undefined)
        await t.rejects(client.ping())
      })
    }
  }
}
