import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Identify } from '../http/principal.js'
import type { Warnings } from '../http/warnings.js'

// The names under which plugins for authentication register.
const AUTH_PLUGINS = ['@fastify/jwt', '@fastify/auth', '@fastify/basic-auth', '@fastify/bearer-auth', '@fastify/passport']
// The headers that a proxy adds.
const FORWARDED = ['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto'] as const
// How many requests are looked at before nothing more is found out.
const LOOKED_AT = 20

export interface BootWarningOptions {
  /** Whether there are sessions at all. */
  readonly isEnabled: boolean
  /** Says who is calling, with its results checked. */
  readonly identify: Identify
  /** Whether the app has given the option `identify`. */
  readonly isIdentifyGiven: boolean
  readonly isClustered: boolean
  /** Whether another node has passed the request on: such a request has the headers that a proxy adds. */
  readonly isForwarded: (request: FastifyRequest) => boolean
  /** Whether other processes may listen on the same port. */
  readonly isWorker: boolean
}

/**
 * Warns of mistakes in how the app is put together, once all of it is there. Returns an `identify` that also watches the
 * first requests: whether they come through a proxy, and whether any of them is somebody's.
 */
export function warnOfMistakes (fastify: FastifyInstance, warnings: Warnings, options: BootWarningOptions): Identify {
  if (!options.isEnabled) return options.identify
  const scopes = followScopes(fastify)
  fastify.addHook('onReady', async function warnOfStrangers () {
    const plugin = findAuthPlugin(scopes)
    if (plugin !== undefined && !options.isIdentifyGiven) warnings.warn('FST_WARN_MCP_SESSION_NO_IDENTIFY', plugin)
  })
  fastify.addHook('onListen', async function warnOfWorkers () {
    if (options.isWorker && !options.isClustered) warnings.warn('FST_WARN_MCP_SESSION_WORKERS')
  })
  if (options.isClustered) warnOfRefusals(fastify, warnings)
  return watchIdentify(scopes, warnings, options)
}

function watchIdentify (scopes: readonly FastifyInstance[], warnings: Warnings, options: BootWarningOptions): Identify {
  const { identify, isIdentifyGiven, isForwarded } = options
  let looked = 0
  let isAnybodyKnown = !isIdentifyGiven

  return function watchedIdentify (request) {
    const principal = identify(request)
    if (looked < LOOKED_AT && !isForwarded(request)) look(request, principal)
    return principal
  }

  function look (request: FastifyRequest, principal: ReturnType<Identify>): void {
    const isLast = ++looked === LOOKED_AT
    warnOfProxy(request)
    if (isAnybodyKnown) return
    // A caller whom `identify` turns away is nobody.
    Promise.resolve(principal).catch(() => undefined).then((known) => {
      isAnybodyKnown ||= known !== undefined
      if (isLast) warnOfSilence()
    })
  }

  function warnOfSilence (): void {
    const plugin = findAuthPlugin(scopes)
    if (!isAnybodyKnown && plugin !== undefined) warnings.warn('FST_WARN_MCP_SESSION_IDENTIFY_SILENT', plugin, String(LOOKED_AT))
  }

  function warnOfProxy ({ headers, ips }: FastifyRequest): void {
    // Fastify sets `ips` only when it trusts a proxy.
    if (ips !== undefined) return
    const header = FORWARDED.find((name) => headers[name] !== undefined)
    if (header !== undefined) warnings.warn('FST_WARN_MCP_SESSION_TRUST_PROXY', header)
  }
}

// `initialConfig` of Fastify does not have return503OnClosing. So its effect is looked for: a request that comes while the
// app closes gets 503 before any hook has run.
function warnOfRefusals (fastify: FastifyInstance, warnings: Warnings): void {
  const served = new WeakSet<object>()
  let isClosing = false
  fastify.addHook('onRequest', function noteRequest ({ raw }, _reply, done) {
    if (isClosing) served.add(raw)
    done()
  })
  fastify.addHook('preClose', async function watchRefusals () {
    isClosing = true
    fastify.server.on('request', (request, response) => {
      const isRefused = response.writableEnded && response.statusCode === 503 && !served.has(request)
      if (isRefused) warnings.warn('FST_WARN_MCP_SESSION_REFUSED_WHILE_CLOSING')
    })
  })
}

/** The instance and all scopes within it: the list grows as they are registered. */
function followScopes (fastify: FastifyInstance): readonly FastifyInstance[] {
  const scopes = [fastify]
  fastify.addHook('onRegister', function addScope (scope) {
    scopes.push(scope)
  })
  return scopes
}

function findAuthPlugin (scopes: readonly FastifyInstance[]): string | undefined {
  return AUTH_PLUGINS.find((name) => scopes.some((scope) => scope.hasPlugin(name)))
}
