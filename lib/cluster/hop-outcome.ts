/**
 * `answered`: the reply has been sent. Otherwise nobody has acted on the request, and it may go somewhere else.
 * `lost`: the owner was given up. `refused`: it does not serve the session any more. `misdirected`: another node of the
 * cluster is there. `unreachable`: no node is there, for this cause. `stranger`: something else is, which has answered,
 * and may have done what it likes with the request. `silent`: the connection was, or it was lost; nobody knows whether
 * the owner has acted.
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
