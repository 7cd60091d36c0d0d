// A driver is a process that has one client in it, and does with it what the test says. So a client that hangs, or needs a
// newer Node.js, harms nobody else.

/** What any client can be asked to do, in its own way. */
export interface Driver {
  /** The names of the tools. */
  list (): Promise<string[]>
  /** The text of the answer. A client that has no way to hear of progress leaves `onProgress` alone. */
  call (name: string, args: Record<string, unknown>, onProgress: () => void): Promise<string>
  close (): Promise<void>
}

export type Order =
  | { readonly kind: 'connect' | 'list' | 'close' }
  | { readonly kind: 'call', readonly name: string, readonly args: Record<string, unknown> }

export type Report =
  | { readonly kind: 'done' }
  | { readonly kind: 'listed', readonly names: string[] }
  | { readonly kind: 'called', readonly text: string, readonly progress: number }
  | { readonly kind: 'failed', readonly message: string }

/** Said on the way, each time when the client has heard of progress. */
export interface ProgressReport {
  readonly kind: 'progress'
}

export type Connect = (url: string, options: string[]) => Promise<Driver>

/** Carries out the orders that come from the test, in the process that it has started for one client. */
export function drive (connect: Connect): void {
  const [url = '', ...options] = process.argv.slice(2)
  let driver: Driver | undefined

  async function carryOut (order: Order): Promise<Report> {
    if (order.kind === 'connect') {
      driver = await connect(url, options)
      return { kind: 'done' }
    }
    if (driver === undefined) throw new Error('Not connected')
    if (order.kind === 'list') return { kind: 'listed', names: await driver.list() }
    if (order.kind === 'call') return call(driver, order.name, order.args)
    await driver.close()
    return { kind: 'done' }
  }

  // Some clients retry or listen on their own, and fail there when the server goes.
  process.on('unhandledRejection', () => {})
  process.on('message', (order: Order) => {
    carryOut(order)
      .catch((error: unknown): Report => ({ kind: 'failed', message: String(error) }))
      .then((report) => process.send?.(report), () => {})
  })
  process.on('disconnect', () => process.exit())
  process.send?.({ kind: 'done' })
}

async function call (driver: Driver, name: string, args: Record<string, unknown>): Promise<Report> {
  let progress = 0
  const text = await driver.call(name, args, () => {
    progress++
    const report: ProgressReport = { kind: 'progress' }
    process.send?.(report)
  })
  return { kind: 'called', text, progress }
}

/** The text of a tool's answer, which must not be an error. */
export function readText (result: unknown): string {
  const { content, isError } = Object(result)
  const [first] = Array.isArray(content) ? content : []
  const text = String(Object(first).text)
  if (isError === true) throw new Error(text)
  return text
}

/** What the user says when asked for a name. */
export const ELICITED = { action: 'accept', content: { name: 'Ada' } } as const
