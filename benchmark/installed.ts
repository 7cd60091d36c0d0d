import { existsSync } from 'node:fs'

/** Whether this folder has a package of its own. Undefined is none, and that it has. */
export function isInstalled (name: string | undefined): boolean {
  return name === undefined || existsSync(new URL(`node_modules/${name}/package.json`, import.meta.url))
}
