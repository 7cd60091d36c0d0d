import { parseArgs } from 'node:util'

const { values: { quick }, positionals } = parseArgs({ allowPositionals: true, options: { quick: { type: 'boolean', default: false } } })

/** Arguments that a script hands on to another. */
export const flags = quick ? ['--quick'] : []

/** Those parts of a script that its arguments name; all when they name none. */
export function choose<Part> (all: Readonly<Record<string, Part>>): Part[] {
  const wanted = positionals.length === 0 ? Object.keys(all) : positionals
  return wanted.map((name) => {
    const part = all[name]
    if (part === undefined) throw new Error(`There is no ${name}, only ${Object.keys(all).join(', ')}`)
    return part
  })
}

/** How often something is done: for a good look, and with `--quick`. A variable of the environment outdoes both. */
export function setting (name: string, thorough: number, short: number): number {
  return Number(process.env[name] ?? (quick ? short : thorough))
}
