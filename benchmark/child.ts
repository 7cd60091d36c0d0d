import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** Runs a file of `measure/` in a process of its own and returns the figures that it reports. */
export function measure (name: string, ...args: string[]): Promise<Record<string, number>> {
  const file = fileURLToPath(new URL(`measure/${name}.ts`, import.meta.url))
  return new Promise((resolve, reject) => {
    const child = fork(file, args, { execArgv: ['--import', 'tsx', '--expose-gc'] })
    child.once('message', resolve)
    child.once('exit', (code) => reject(new Error(`measure/${name}.ts ended with code ${code} and no figures`)))
  })
}
