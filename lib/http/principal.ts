import type { FastifyRequest } from 'fastify'
import { PrincipalError } from '../base/errors.js'
import { asError } from '../base/safe-call.js'
import { standInPrincipal } from './stand-in.js'

/**
 * Says who is calling: something that stays the same when a token is refreshed,
 * such as the subject of the token. `undefined` is an anonymous caller. What it
 * throws, or rejects with, is the answer to the request.
 */
export type Identify = (request: FastifyRequest) => string | undefined | Promise<string | undefined>

/** `identify` as the app gave it, with its results checked: a wrong one must not open somebody else's session. */
export function createIdentify (identify: Identify | undefined): Identify {
  if (identify === undefined) return standInPrincipal

  return function checkedIdentify (request) {
    const principal = standInPrincipal(request) ?? call(identify, request)
    return typeof principal === 'object' && principal !== null
      ? Promise.resolve(principal).then(checkPrincipal, rethrow)
      : checkPrincipal(principal)
  }
}

// What is thrown is made an error: to Fastify, a hook that throws undefined has not failed.
function call (identify: Identify, request: FastifyRequest): unknown {
  try {
    return identify(request)
  } catch (reason) {
    rethrow(reason)
  }
}

function rethrow (reason: unknown): never {
  throw asError(reason)
}

function checkPrincipal (principal: unknown): string | undefined {
  if (typeof principal === 'string') return principal
  if (principal === undefined || principal === null) return undefined
  throw new PrincipalError(typeof principal)
}
