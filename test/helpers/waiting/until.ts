import { setImmediate as turn } from 'node:timers/promises'

const DEADLINE = 5_000

/** Turns the event loop until `condition` holds, for what happens on the other side of a socket. */
export async function until (condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + DEADLINE
  while (!await condition()) {
    if (performance.now() > end) throw new Error(`Waited ${DEADLINE} ms in vain until ${what}`)
    await turn()
  }
}
