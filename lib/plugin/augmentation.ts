import type { SessionDirectory } from '../cluster/session-directory.js'
import type { SessionManager } from '../session/session-manager.js'
import type { SessionMode } from '../http/session-hook.js'
import type { Session } from '../session/session.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** The sessions of this process. */
    sessionManager: SessionManager
    /** The sessions of the whole cluster. There with the option `cluster` only. */
    sessionDirectory: SessionDirectory
  }

  interface FastifyRequest {
    /** The session that the request belongs to; null when it names none. */
    mcpSession: Session | null
  }

  interface FastifyContextConfig {
    /**
     * What the route wants of the `mcp-session-id` header. `'required'`: a good
     * id; `'optional'`: none, or a good one; `'ignore'`: it is not looked at.
     * Default `'optional'`.
     */
    mcpSession?: SessionMode | undefined
  }
}
