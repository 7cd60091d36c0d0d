/**
 * Clients without a port, sessions made in a test, and their clock.
 *
 * @module fastify-mcp-sessions/testing
 */
export { connect, type ConnectOptions } from './connect.js'
export { injectFetch } from './inject-fetch.js'
export { serveSession, type ServeSessionOptions } from './serve-session.js'
export { sessionClock, type SessionClock } from './session-clock.js'
export type { ConnectableClient, TestClient } from './test-client.js'
