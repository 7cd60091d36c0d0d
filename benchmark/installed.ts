import { existsSync } from 'node:fs'

/** Whether this folder has a package of its own. */
export function isInstalled (name: string): boolean {
  return existsSync(new URL(`node_modules/${name}/package.json`, import.meta.url))
}
