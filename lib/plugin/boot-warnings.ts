import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Identify } from '../http/principal.js'
import type { Warnings } from '../http/warnings.js'

// Under the names that they register as.
const AUTH_PLUGINS = ['@fastify/jwt', '@fastify/auth', '@fastify/basic-auth', '@fastify/bearer-auth', '@fastify/passport']
// What a proxy adds.
const FORWARDED = ['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto'] as const
// So many requests are looked at, and after that none.
const LOOKED_AT = 20

export interface BootWarningOptions {
  /** Whether there are sessions at all. */
  readonly isEnabled: boolean
  /** What says who is calling, with its results checked. */
  readonly identify: Identify
  /** Whether that is a function of the app. */
  readonly isIdentifyGiven: boolean
  readonly isClustered: boolean
  /** Whether another node has passed the request on: that adds such headers as a proxy does. */
  readonly isForwarded: (request: FastifyRequest) => boolean
  /** Whether other processes may listen on the same port. */
  readonly isWorker: boolean
}

/**
 * Warns of mistakes in how the app is put together, when all of it is there. Returns `identify` with a look at the first
 * requests: at what comes with them, and at whether they are ever somebody's.
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

function watchIdentify (scopes: readonly FastifyInstance[], warnings: Warnings, { identify, isIdentifyGiven, isForwarded }: BootWarningOptions): Identify {
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
    // Who is turned away is nobody.
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
    // Fastify keeps the list of addresses only when it trusts somebody.
    if (ips !== undefined) return
    const header = FORWARDED.find((name) => headers[name] !== undefined)
    if (header !== undefined) warnings.warn('FST_WARN_MCP_SESSION_TRUST_PROXY', header)
  }
}

// Fastify does not say how it was made (its `initialConfig` has no return503OnClosing), so this is seen when it hurts first:
// what comes while the app closes is refused on the spot, before any hook.
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
      if (response.writableEnded && response.statusCode === 503 && !served.has(request)) warnings.warn('FST_WARN_MCP_SESSION_REFUSED_WHILE_CLOSING')
    })
  })
}

/** The instance, and what is registered below it later on, in a list that grows. */
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
