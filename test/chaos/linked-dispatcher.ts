import { Agent, buildConnector } from 'undici'
import type { Socket } from 'node:net'

// As the nodes have it of themselves, in milliseconds.
const CONNECT_TIMEOUT = 1000

/**
 * Connects through a `TcpLink` that greets. The link itself takes every connection; one that leads nowhere must fail before
 * anything is sent on it, as it would without the link.
 */
export function createLinkedDispatcher (): Agent {
  const connect = buildConnector({ timeout: CONNECT_TIMEOUT })
  return new Agent({
    connect (options, done) {
      connect(options, (...[error, socket]) => {
        if (error !== null) done(error, null)
        else awaitGreeting(socket, done)
      })
    }
  })
}

function awaitGreeting (socket: Socket, done: buildConnector.Callback): void {
  const onError = (): void => {}
  const onClose = (): void => {
    socket.off('readable', onReadable)
    done(new Error('The link leads nowhere'), null)
  }
  const onReadable = (): void => {
    if (socket.read(1) === null) return
    socket.off('close', onClose).off('readable', onReadable).off('error', onError)
    done(null, socket)
  }
  socket.on('error', onError).on('close', onClose).on('readable', onReadable)
}
