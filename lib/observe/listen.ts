import type { ChannelMessage, TypedChannel } from './channels.js'

/** Stops listening. */
export type Stop = () => void

/** Listens for what happens in one app of the process. */
export function listen<M extends ChannelMessage> (channel: TypedChannel<M>, sessions: object, hear: (message: M) => void): Stop {
  const listener = (message: M): void => { if (message.sessions === sessions) hear(message) }
  channel.subscribe(listener)
  return () => { channel.unsubscribe(listener) }
}
