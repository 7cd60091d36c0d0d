import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { channels, tracingChannels, type CallMessage, type ForwardMessage } from '../../../lib/observe/channels.js'
import { ROOT } from '../processes/child.js'

export interface Heard {
  readonly name: string
  readonly message: object
}

type Channels = typeof channels
export type MessageOf<N extends keyof Channels> = Parameters<Parameters<Channels[N]['subscribe']>[0]>[0]

/** The messages of a channel until the test is over. */
export function hear<N extends keyof Channels> (t: Test, name: N): Array<MessageOf<N>> {
  const heard: Array<MessageOf<N>> = []
  const listener = (message: MessageOf<N>): void => { heard.push(message) }
  const channel: { subscribe: (listener: (message: MessageOf<N>) => void) => void, unsubscribe: (listener: (message: MessageOf<N>) => void) => boolean } = channels[name]
  channel.subscribe(listener)
  t.teardown(() => { channel.unsubscribe(listener) })
  return heard
}

export interface TracedEvent<M> {
  readonly event: 'start' | 'end' | 'asyncStart' | 'asyncEnd' | 'error'
  readonly message: M
}

/** What a tracing channel says until the test is over. */
export function trace (t: Test, name: 'call'): Array<TracedEvent<CallMessage>>
export function trace (t: Test, name: 'request.forwarded'): Array<TracedEvent<ForwardMessage>>
export function trace (t: Test, name: 'call' | 'request.forwarded'): Array<TracedEvent<object>> {
  const heard: Array<TracedEvent<object>> = []
  for (const event of ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const) {
    const channel = tracingChannels[name][event]
    const listener = (message: object): void => { heard.push({ event, message }) }
    channel.subscribe(listener)
    t.teardown(() => { channel.unsubscribe(listener) })
  }
  return heard
}

/** The rows of the tables in docs/observing.md whose first cell is a name: the name, and all cells. */
export function documented (section: string): Map<string, string[]> {
  const text = readFileSync(join(ROOT, 'docs/observing.md'), 'utf8')
  const [, part = ''] = new RegExp(`^## ${section}\n([^]*?)(?=^## |(?![^]))`, 'm').exec(text) ?? []
  const rows = Array.from(part.matchAll(/^\| `([^`]+)` \|(.*)\|$/gm), ({ 1: name = '', 2: rest = '' }): [string, string[]] =>
    [name, rest.split(' | ').map((cell) => cell.trim())])
  return new Map(rows)
}

/** The names that a cell says, without those that stand in parentheses. */
export function namesIn (cell: string): string[] {
  return Array.from(cell.replace(/\([^)]*\)/g, '').matchAll(/`([^`]+)`/g), ([, name = '']) => name)
}
