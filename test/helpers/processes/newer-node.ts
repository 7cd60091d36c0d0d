import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)
const NEWER = 24

/**
 * A Node.js for tools that need a newer one than this package does: this one if it is new enough, otherwise one that npm
 * fetches.
 *
 * @param major the oldest that the tool runs on
 */
export async function newerNode (major: number, signal?: AbortSignal): Promise<string> {
  if (Number.parseInt(process.versions.node) >= major) return process.execPath
  const { stdout } = await run('npx', ['-y', '-p', `node@${NEWER}`, 'node', '-p', 'process.execPath'], {
    ...(signal && { signal }), shell: process.platform === 'win32'
  })
  return stdout.trim()
}
