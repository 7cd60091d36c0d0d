import type { FastifyReply, FastifyRequest } from 'fastify'
import { ClusterUnavailableError } from '../base/errors.js'
import type { SessionDirectory } from '../http/session-directory.js'
import type { ClusterView } from './cluster-view.js'
import type { LiveSessions } from './live-sessions.js'
import { refuse } from './refusal.js'
import type { States } from './state.js'

export interface EndableSessions {
  readonly live: LiveSessions
  readonly states: States
  readonly cluster: ClusterView | undefined
  readonly directory: SessionDirectory
}

type EndRequest = FastifyRequest<{ Params: { hash: string } }>

/** Ends the session that has this hash, wherever it lives. Answers 204; 404 when it is gone; 503 when the directory does not answer. */
export async function endSession (request: EndRequest, reply: FastifyReply, sessions: EndableSessions): Promise<FastifyReply> {
  const { hash } = request.params
  try {
    if (!await end(hash, sessions)) return refuse(reply, 404, 'The session is gone')
  } catch (error) {
    const { message, statusCode } = new ClusterUnavailableError()
    request.log.warn({ err: error, sessionId: hash }, 'A session of another node could not be ended from the dashboard')
    return refuse(reply, statusCode, message)
  }
  request.log.info({ sessionId: hash }, 'A session was ended from the dashboard')
  return reply.code(204).send()
}

async function end (hash: string, { live, states, cluster, directory }: EndableSessions): Promise<boolean> {
  const id = states.find(hash) ?? await findElsewhere(hash, { states, cluster })
  if (id === undefined) return false
  // A session that lives here can be ended even if the directory does not answer.
  if (live.has(id)) return live.end(id)
  const wasThere = await directory.terminate(id)
  cluster?.drop(id)
  return wasThere
}

// Looks for a session that this node has not heard of yet: with a load balancer, another node may have shown the page.
async function findElsewhere (hash: string, { states, cluster }: Pick<EndableSessions, 'states' | 'cluster'>): Promise<string | undefined> {
  if (cluster === undefined) return undefined
  await cluster.reread()
  return states.find(hash)
}
