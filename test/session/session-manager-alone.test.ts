import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import ts from 'typescript'

const MANAGER = new URL('../../lib/session/session-manager.ts', import.meta.url)

/** What the module imports at run time, itself and through others. */
async function collectImports (module: URL, files = new Set<string>(), packages = new Set<string>()) {
  files.add(module.href)
  const { outputText } = ts.transpileModule(await readFile(module, 'utf8'), {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023, verbatimModuleSyntax: true }
  })
  for (const { fileName } of ts.preProcessFile(outputText).importedFiles) {
    const imported = new URL(fileName.replace(/\.js$/, '.ts'), module)
    if (!fileName.startsWith('.')) packages.add(fileName)
    else if (!files.has(imported.href)) await collectImports(imported, files, packages)
  }
  return { files, packages }
}

t.test('the manager runs without Fastify, the SDK or any other package but the one that makes its errors', async (t) => {
  const { files, packages } = await collectImports(MANAGER)
  t.strictSame([...packages].filter((name) => !name.startsWith('node:')), ['@fastify/error'])
  t.ok(packages.has('node:crypto'), 'imports have been read')
  t.ok([...files].some((file) => file.endsWith('/idle-queue.ts')), 'imports have been followed')
  const strange = [...files].filter((file) => !/\/lib\/(session|observe|base)\/[\w-]+\.ts$/.test(file))
  t.strictSame(strange, [], 'it stays within lib/session and what that may import from')
})

t.test('the plugin does import Fastify packages: the check can tell', async (t) => {
  const { packages } = await collectImports(new URL('../../lib/plugin/plugin.ts', import.meta.url))
  t.ok(packages.has('fastify-plugin'))
})

t.test('a process that has started the cleanup ends by itself', async (t) => {
  const script = fileURLToPath(new URL('../helpers/processes/start-and-leave.ts', import.meta.url))
  // With the loader that this test itself runs under.
  const { stdout } = await promisify(execFile)(process.execPath, [...process.execArgv, script], { timeout: 20_000 })
  t.strictSame(stdout.trim().split('\n'), [
    'Session registered: left-behind',
    'Starting TTL cleanup (interval: 30000ms, TTL: 60000ms)'
  ])
})
