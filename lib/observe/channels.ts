import type { AsyncLocalStorage } from 'node:async_hooks'
import { channel, tracingChannel } from 'node:diagnostics_channel'

/*
 * Channels of `node:diagnostics_channel`, under one prefix, that tell what happens. Logs, metrics, traces and the dashboard
 * listen to them, and so may an app. A channel that nobody listens to costs one look at `hasSubscribers`.
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
  /** What the client sends as `mcp-session-id`: never log it as it is. */
  readonly id: string
  /** Milliseconds since the epoch. */
  readonly createdAt: number
  /** Milliseconds since the epoch. */
  readonly lastAccessedAt: number
  /** Whose it is, from `identify`. */
  readonly principal?: string | undefined
  /** What the client called itself in `initialize`. */
  readonly clientInfo?: { readonly name: string, readonly version: string } | undefined
  /** The revision of MCP that client and server agreed on, such as `2025-11-25`. */
  readonly protocolVersion?: string | undefined
  /** Requests that hold it at the moment, streams among them. */
  readonly activeRequests: number
  /** Those of them that are streams which the client keeps open. */
  readonly openStreams: number
}

/** There is a session that was not here before. */
export interface SessionCreatedMessage extends ChannelMessage {
  readonly session: ObservedSession
  /** `adopted`: another process had opened it. */
  readonly how: 'created' | 'registered' | 'adopted'
}

/**
 * Why a session ended: `deleted` by DELETE or `cleanup()`, `expired` after its
 * ttl, `evicted` to make room for another, `replaced` by `register()` of the
 * same id, `cleared` by `clearAll()`, `shutdown` with the app, `moved` to
 * another node of the cluster.
 */
export type CloseReason = 'deleted' | 'expired' | 'evicted' | 'replaced' | 'cleared' | 'shutdown' | 'moved'

/** A session has ended here, whatever ended it. */
export interface SessionClosedMessage extends ChannelMessage {
  readonly session: ObservedSession
  readonly reason: CloseReason
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

/** A request was refused, with an error of this package. */
export interface RequestRejectedMessage extends ChannelMessage {
  /** Of the error, such as `FST_ERR_MCP_SESSION_NOT_FOUND`. */
  readonly code: string
  /** Of the answer. */
  readonly statusCode: number
  /** What the client is told. */
  readonly message: string
  /** The id that the request named, if it could be one. Whoever sent it need not be its owner. */
  readonly sessionId: string | undefined
}

/** A stream was cut because its client does not read. */
export interface StreamCutMessage extends ChannelMessage {
  /** Undefined: the stream is of a client without sessions. */
  readonly session: ObservedSession | undefined
  /** Bytes that waited for the reader, and were thrown away. */
  readonly bytes: number
}

/** Redis does not answer any more. Said once, until `redis.available`. */
export interface RedisUnavailableMessage extends ChannelMessage {
  /** What the client of Redis says. */
  readonly error: unknown
}

/** Redis answers again. */
export interface RedisAvailableMessage extends ChannelMessage {
  /** Milliseconds for which it did not answer. */
  readonly after: number
}

/** A request of MCP. One object for all that happens to it, so that a listener can keep what belongs to it in a `WeakMap`. */
export interface CallMessage extends ChannelMessage {
  /** Undefined: it has none, such as one of revision 2026-07-28. */
  readonly session: ObservedSession | undefined
  /** Of JSON-RPC, such as `tools/call`. */
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
  /** From `error` or `asyncStart` on: milliseconds since before its server got it. */
  duration?: number
}

/** A request that is passed on to the node that owns its session. One object for all that happens to it. */
export interface ForwardMessage extends ChannelMessage {
  /** The session that the request names. */
  readonly sessionId: string
  /** The base URL of the owner. */
  readonly url: string
  /** Of HTTP. */
  readonly method: string
  /** The headers that will be sent: until `start` is over, a listener may add to them. */
  readonly headers: Record<string, string | string[] | undefined>
  /** From `asyncStart` on. */
  statusCode?: number
  /** From `error` on: the owner could not be reached, or failed. */
  error?: unknown
  /** From `error` or `asyncStart` on: milliseconds since it was to be passed on. */
  duration?: number
}

/** A `Channel` of Node.js that knows its messages. */
export interface TypedChannel<M extends ChannelMessage> {
  /** With its prefix, as `node:diagnostics_channel` knows it. */
  readonly name: string | symbol
  /** Whether anybody listens. */
  readonly hasSubscribers: boolean
  /** For this package alone. */
  publish (message: M): void
  /** Calls the listener, at once and in line, each time that it happens. It must not throw. */
  subscribe (listener: (message: M, name: string | symbol) => void): void
  /** Returns whether the listener was one. */
  unsubscribe (listener: (message: M, name: string | symbol) => void): boolean
}

/** The one that opens a trace: what a listener binds to it is there in all that follows from it. */
export interface StartChannel<M extends ChannelMessage> extends TypedChannel<M> {
  /** Has the store hold what `transform` returns, for all that follows from it. */
  bindStore<S> (store: AsyncLocalStorage<S>, transform: (message: M) => S): void
  /** Returns whether the store was bound. */
  unbindStore<S> (store: AsyncLocalStorage<S>): boolean
  /** For this package alone. */
  runStores<R> (message: M, work: () => R): R
}

/** A `TracingChannel` of Node.js that knows its messages. */
export interface TypedTracingChannel<M extends ChannelMessage> {
  /** It begins. */
  readonly start: StartChannel<M>
  /** What runs at once is over. */
  readonly end: TypedChannel<M>
  /** It was answered. */
  readonly asyncStart: TypedChannel<M>
  /** It is over. */
  readonly asyncEnd: TypedChannel<M>
  /** It has failed; `asyncStart` follows. */
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
  /** There is a session that was not here before: opened by a client, made by the app, or come from another node. */
  'session.created': define<SessionCreatedMessage>('session.created'),
  /** A session has ended here, with its reason. */
  'session.closed': define<SessionClosedMessage>('session.closed'),
  /** A session of another node lives here now. */
  'session.taken-over': define<SessionTakenOverMessage>('session.taken-over'),
  /** A session that had come back has its MCP server. */
  'session.restored': define<SessionRestoredMessage>('session.restored'),
  /** An idle session has let go of its MCP server, see `parkAfter`. */
  'session.parked': define<SessionParkedMessage>('session.parked'),
  /** A session of a node that closes waits for the next one. */
  'session.handed-over': define<SessionHandedOverMessage>('session.handed-over'),
  /** A request was refused with an error of this package. */
  'request.rejected': define<RequestRejectedMessage>('request.rejected'),
  /** A client did not read its stream, see `maxBuffered`. */
  'stream.cut': define<StreamCutMessage>('stream.cut'),
  /** Redis does not answer any more. */
  'redis.unavailable': define<RedisUnavailableMessage>('redis.unavailable'),
  /** Redis answers again. */
  'redis.available': define<RedisAvailableMessage>('redis.available')
} as const

/** `start` and `end` stand around the part that runs at once, `asyncStart` and `asyncEnd` around the answer. */
export const tracingChannels = {
  /** A request of MCP, of either era. */
  call: defineTracing<CallMessage>('call'),
  /** A request that is passed on to another node. */
  'request.forwarded': defineTracing<ForwardMessage>('request.forwarded')
} as const
