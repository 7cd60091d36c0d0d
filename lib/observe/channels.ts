import type { AsyncLocalStorage } from 'node:async_hooks'
import { channel, tracingChannel } from 'node:diagnostics_channel'

/*
 * What happens, told to whoever listens: `node:diagnostics_channel`, with one prefix. Logs, metrics, traces and the
 * dashboard listen here, and so may an app. Unheard, a channel costs one look at `hasSubscribers`.
 *
 * docs/observing.md has a table of all that is in this file, and a test holds the two together.
 */

export const PREFIX = 'fastify-mcp-sessions:'

/** What every message has. */
export interface ChannelMessage {
  /** The `SessionManager` of the app in which it happened: a process can have several, and a channel is one for all of them. */
  readonly sessions: object
}

/** A session as messages have it: the one that `request.mcpSession` is, and live. Its id is a secret: see `hashSessionId`. */
export interface ObservedSession {
  readonly id: string
  /** Milliseconds since the epoch. */
  readonly createdAt: number
  /** Milliseconds since the epoch. */
  readonly lastAccessedAt: number
  readonly principal?: string | undefined
  readonly clientInfo?: { readonly name: string, readonly version: string } | undefined
  readonly protocolVersion?: string | undefined
  readonly activeRequests: number
  readonly openStreams: number
}

export interface SessionCreatedMessage extends ChannelMessage {
  readonly session: ObservedSession
  /** `adopted`: another process had opened it. */
  readonly how: 'created' | 'registered' | 'adopted'
}

export interface SessionClosedMessage extends ChannelMessage {
  readonly session: ObservedSession
  /** A `CloseReason`. */
  readonly reason: string
  /** Milliseconds since it was opened, on whatever node. */
  readonly age: number
}

/** A session has come to this node; a `session.created` (`adopted`) goes before it. */
export interface SessionTakenOverMessage extends ChannelMessage {
  readonly session: ObservedSession
}

/** A session has a new MCP server here, which has heard what the client had said to the last one. */
export interface SessionRestoredMessage extends ChannelMessage {
  readonly session: ObservedSession
  /** The methods of what the new server has not answered yet. */
  readonly unanswered: readonly string[]
}

/** A session has no MCP server any more: the next request brings it another one, and a `session.restored`. */
export interface SessionParkedMessage extends ChannelMessage {
  readonly session: ObservedSession
}

/** A session that was closed with the reason `shutdown` lives on: the next node that is asked for it may take it. */
export interface SessionHandedOverMessage extends ChannelMessage {
  readonly session: ObservedSession
}

export interface RequestRejectedMessage extends ChannelMessage {
  /** Of the error, such as `FST_ERR_MCP_SESSION_NOT_FOUND`. */
  readonly code: string
  readonly statusCode: number
  /** What the client is told. */
  readonly message: string
  /** The id that the request named, if it could be one. Whoever sent it need not be its owner. */
  readonly sessionId: string | undefined
}

export interface StreamCutMessage extends ChannelMessage {
  readonly session: ObservedSession | undefined
  /** Bytes that waited for the reader, and were thrown away. */
  readonly bytes: number
}

export interface RedisUnavailableMessage extends ChannelMessage {
  readonly error: unknown
}

export interface RedisAvailableMessage extends ChannelMessage {
  /** Milliseconds for which it did not answer. */
  readonly after: number
}

/** A request of MCP. One object for all that happens to it, so that a listener can keep what belongs to it in a `WeakMap`. */
export interface CallMessage extends ChannelMessage {
  /** Undefined: it has none, such as one of revision 2026-07-28. */
  readonly session: ObservedSession | undefined
  readonly method: string
  /** What the client calls it. */
  readonly id: string | number
  /** Of the request, as the client has sent them. */
  readonly params: Readonly<Record<string, unknown>> | undefined
  /** Of the HTTP request that brought it. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** From `asyncStart` on, when it was answered. */
  result?: unknown
  /** From `error` on: what was answered instead of a result, or that it was cancelled. */
  error?: { readonly code: number | 'cancelled', readonly message: string }
}

/** A request that is passed on to the node that owns its session. One object for all that happens to it. */
export interface ForwardMessage extends ChannelMessage {
  readonly sessionId: string
  /** The base URL of the owner. */
  readonly url: string
  readonly method: string
  /** As they will be sent, until `start` is over: a listener may add to them. */
  readonly headers: Record<string, string | string[] | undefined>
  /** From `asyncStart` on. */
  statusCode?: number
  /** From `error` on: the owner could not be reached, or failed. */
  error?: unknown
}

/** A `Channel` of Node.js that knows its messages. */
export interface TypedChannel<M extends ChannelMessage> {
  readonly name: string | symbol
  readonly hasSubscribers: boolean
  publish (message: M): void
  subscribe (listener: (message: M, name: string | symbol) => void): void
  unsubscribe (listener: (message: M, name: string | symbol) => void): boolean
}

/** The one that opens a trace: what a listener binds to it is there in all that follows from it. */
export interface StartChannel<M extends ChannelMessage> extends TypedChannel<M> {
  bindStore<S> (store: AsyncLocalStorage<S>, transform: (message: M) => S): void
  unbindStore<S> (store: AsyncLocalStorage<S>): boolean
  runStores<R> (message: M, work: () => R): R
}

/** A `TracingChannel` of Node.js that knows its messages. */
export interface TypedTracingChannel<M extends ChannelMessage> {
  readonly start: StartChannel<M>
  readonly end: TypedChannel<M>
  readonly asyncStart: TypedChannel<M>
  readonly asyncEnd: TypedChannel<M>
  readonly error: TypedChannel<M>
}

// To Node.js a message is anything. Here it is what `publish` takes, for nobody else publishes under the prefix.
function define<M extends ChannelMessage> (name: string): TypedChannel<M>
function define (name: string): unknown {
  return channel(PREFIX + name)
}

function defineTracing<M extends ChannelMessage> (name: string): TypedTracingChannel<M>
function defineTracing (name: string): unknown {
  return tracingChannel(PREFIX + name)
}

/** Each under the name that it has in Node.js behind the prefix. */
export const channels = {
  'session.created': define<SessionCreatedMessage>('session.created'),
  'session.closed': define<SessionClosedMessage>('session.closed'),
  'session.taken-over': define<SessionTakenOverMessage>('session.taken-over'),
  'session.restored': define<SessionRestoredMessage>('session.restored'),
  'session.parked': define<SessionParkedMessage>('session.parked'),
  'session.handed-over': define<SessionHandedOverMessage>('session.handed-over'),
  'request.rejected': define<RequestRejectedMessage>('request.rejected'),
  'stream.cut': define<StreamCutMessage>('stream.cut'),
  'redis.unavailable': define<RedisUnavailableMessage>('redis.unavailable'),
  'redis.available': define<RedisAvailableMessage>('redis.available')
} as const

/** `start` and `end` stand around the part that runs at once, `asyncStart` and `asyncEnd` around the answer. */
export const tracingChannels = {
  call: defineTracing<CallMessage>('call'),
  'request.forwarded': defineTracing<ForwardMessage>('request.forwarded')
} as const
