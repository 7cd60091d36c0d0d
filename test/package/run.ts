// The package in projects that have installed it, from the oldest of what it works with to the newest: it runs, and its
// types are right in every resolution, with all libraries checked. Needs the registry. `npm run test:package`, or one of
// them: `npm run test:package newest`
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cleanEnv, ROOT } from '../helpers/processes/child.js'

interface Project {
  readonly name: string
  /** What it installs beside the package. */
  readonly peers: readonly string[]
  /** Versions of TypeScript. */
  readonly compilers: readonly string[]
}

const PROJECTS: readonly Project[] = [
  { name: 'the oldest', peers: ['fastify@5.0.0', '@modelcontextprotocol/sdk@1.15.0', 'zod@3'], compilers: ['5.4', '5.9'] },
  { name: 'SDK 2 alone', peers: ['fastify@5', '@modelcontextprotocol/server@2', '@modelcontextprotocol/client@2', 'zod@4'], compilers: ['5.9'] },
  { name: 'the newest', peers: ['fastify@5', '@modelcontextprotocol/sdk@1', 'zod@4'], compilers: ['5.8', '5.9', '6', 'latest'] }
]

// With the DOM, as is TypeScript's default: the types of SDK 1 need it.
const COMMON = { target: 'es2022', lib: ['es2023', 'dom', 'dom.iterable'], strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true, types: ['node'] }
// From 5.8 on a CommonJS file may require an ES module, and `preserve` came with 5.4.
const RESOLUTIONS: ReadonlyArray<{ readonly options: object, readonly file: string, readonly since?: number }> = [
  { options: { module: 'nodenext' }, file: 'consumer.mts' },
  { options: { module: 'node16' }, file: 'consumer.mts' },
  { options: { module: 'preserve', moduleResolution: 'bundler' }, file: 'consumer.mts' },
  { options: { module: 'esnext', moduleResolution: 'bundler' }, file: 'consumer.mts' },
  { options: { module: 'nodenext' }, file: 'consumer.cts', since: 5.8 }
]

const folder = mkdtempSync(join(tmpdir(), 'fastify-mcp-sessions-package-'))
try {
  const failures = [...checkProjects(pack()), ...lintPackage()]
  if (failures.length > 0) throw new Error(`${failures.length} failed:\n${failures.join('\n')}`)
} finally {
  rmSync(folder, { recursive: true })
}

function pack (): string {
  must(ROOT, 'npm', 'pack', '--silent', '--pack-destination', folder)
  const [tarball] = readdirSync(folder)
  return join(folder, String(tarball))
}

function checkProjects (tarball: string): string[] {
  const wanted = PROJECTS.filter(({ name }) => name.endsWith(process.argv[2] ?? ''))
  return wanted.flatMap((project) => {
    const path = join(folder, project.name.replaceAll(' ', '-'))
    install(path, tarball, project)
    return [
      ...report(`${project.name}: runs`, path, 'node', 'smoke.mjs'),
      ...project.compilers.flatMap((version) => checkTypes(project, path, version))
    ]
  })
}

// Without ioredis, and with one SDK only: what is optional must not be missed.
function install (path: string, tarball: string, { peers, compilers }: Project): void {
  mkdirSync(path)
  writeFileSync(join(path, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  for (const file of ['smoke.mjs', 'consumer.mts']) writeFileSync(join(path, file), adapt(readFileSync(join(ROOT, 'test/package', file), 'utf8'), peers))
  copyFileSync(join(path, 'consumer.mts'), join(path, 'consumer.cts'))
  const compilerPackages = compilers.map((version) => `typescript-${version}@npm:typescript@${version}`)
  must(path, 'npm', 'install', '--no-audit', '--no-fund', '--silent', tarball, ...peers, ...compilerPackages, '@types/node@20')
}

function adapt (code: string, peers: readonly string[]): string {
  return peers.some((peer) => peer.startsWith('@modelcontextprotocol/sdk@')) ? code : code.replace('@modelcontextprotocol/sdk/server/mcp.js', '@modelcontextprotocol/server')
}

function checkTypes ({ name }: Project, path: string, version: string): string[] {
  return RESOLUTIONS.filter(({ since = 0 }) => Number.isNaN(Number(version)) || Number(version) >= since).flatMap(({ options, file }) => {
    writeFileSync(join(path, 'tsconfig.json'), JSON.stringify({ compilerOptions: { ...COMMON, ...options }, files: [file] }))
    return report(`${name}: TypeScript ${version}, ${file}, ${JSON.stringify(options)}`, path, 'node', `node_modules/typescript-${version}/bin/tsc`)
  })
}

// That a CommonJS file gets an ES module is what the package wants: Node.js can require it since 20.19.
function lintPackage (): string[] {
  return [
    ...report('publint', ROOT, 'npx', '--yes', 'publint@0.3', '--strict'),
    ...report('are the types wrong?', ROOT, 'npx', '--yes', '@arethetypeswrong/cli@0.18', '--pack', '--profile', 'esm-only')
  ]
}

function report (what: string, cwd: string, command: string, ...args: string[]): string[] {
  const { status, output } = run(cwd, command, ...args)
  console.log(`${status === 0 ? 'ok    ' : 'not ok'} ${what}`)
  if (status !== 0) console.log(output.split('\n').slice(0, 20).join('\n'))
  return status === 0 ? [] : [what]
}

function must (cwd: string, command: string, ...args: string[]): void {
  const { status, output } = run(cwd, command, ...args)
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}:\n${output}`)
}

function run (cwd: string, command: string, ...args: string[]): { status: number | null, output: string } {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, env: cleanEnv(), encoding: 'utf8', shell: process.platform === 'win32' })
  return { status, output: `${stdout}${stderr}${error?.message ?? ''}` }
}
