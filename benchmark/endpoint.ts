// mcpEndpoint against what else there is to serve MCP from a Fastify app. See README.md.
import { measureCalls } from './calls.js'
import { measureHandshakes } from './handshakes.js'
import { measureModern } from './modern.js'
import { measureOpening } from './opening.js'
import { measureSchemas } from './schemas.js'
import { choose } from './settings.js'
import { measureShortSessions } from './short-sessions.js'
import { measureTelemetry } from './telemetry.js'

for (const measure of choose({
  calls: measureCalls,
  handshakes: measureHandshakes,
  'short-sessions': measureShortSessions,
  opening: measureOpening,
  modern: measureModern,
  schemas: measureSchemas,
  telemetry: measureTelemetry
})) await measure()
