/**
 * What has become of a request that was passed on.
 *
 * - `answered`: the owner has answered, and the reply is sent
 *
 * Nobody has acted on the request, and it may go somewhere else:
 *
 * - `lost`: the owner was given up
 * - `refused`: the owner does not serve the session any more
 * - `misdirected`: another node of the cluster is at the URL of the owner
 * - `unreachable`: no node is at that URL, for this cause
 *
 * Nobody knows whether somebody has acted on it:
 *
 * - `stranger`: something that is no node of the cluster has answered there
 * - `silent`: nothing has come for too long, or the connection was lost
 */
export type HopOutcome =
  | { readonly kind: 'answered' | 'lost' | 'refused' | 'misdirected' }
  | { readonly kind: 'unreachable' | 'stranger' | 'silent', readonly cause: unknown }

/** The owner failed after it may have begun to act on the request: nobody else may serve it now. */
export class ForwardError extends Error {
  override name = 'ForwardError'

  constructor (message: string, cause?: unknown) {
    super(message, { cause })
  }
}
