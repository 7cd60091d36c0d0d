import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Socket } from 'node:net'

// By connection: so a long pipeline needs one listener on its socket, and not one for each request.
const pipelines = new WeakMap<Socket, Set<() => void>>()

/**
 * Calls back once, when the response is over, however it ends: sent, aborted,
 * streamed, hijacked, injected. At once when the client has gone already.
 */
export function onResponseEnd (request: FastifyRequest, reply: FastifyReply, callback: () => void): void {
  const response = reply.raw
  const { socket } = request.raw
  if (hasResponseEnded(request, reply)) {
    callback()
  } else if (response.socket !== null) {
    // A response closes only once, so that on() will do: once() would make a wrapper for every request.
    response.on('close', callback)
  } else {
    const pipeline = watchPipeline(socket)
    pipeline.add(callback)
    response.once('close', () => {
      if (pipeline.delete(callback)) callback()
    })
  }
}

/** Whether nobody waits for the response any more. */
export function hasResponseEnded (request: FastifyRequest, reply: FastifyReply): boolean {
  // A response of HTTP/2 does not say that it is destroyed; its socket does.
  return reply.raw.destroyed || request.raw.socket.destroyed
}

// Node.js gives a pipelined response its socket when the one before it is over. When the connection breaks before that,
// the response never closes: only the socket tells.
function watchPipeline (socket: Socket): Set<() => void> {
  const watched = pipelines.get(socket)
  if (watched !== undefined) return watched
  const pipeline = new Set<() => void>()
  pipelines.set(socket, pipeline)
  socket.once('close', () => {
    for (const callback of pipeline) {
      pipeline.delete(callback)
      callback()
    }
  })
  return pipeline
}
