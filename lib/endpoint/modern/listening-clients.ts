import { SessionLimitError } from '../../base/errors.js'

/** One client's place among those that listen: one stream of `subscriptions/listen`. */
export class ListeningPlace {
  readonly principal: string | undefined
  /** Ends its stream. Undefined until that is open: such a place cannot make room. */
  end: (() => void) | undefined

  constructor (principal: string | undefined) {
    this.principal = principal
  }
}

/**
 * The clients that listen without a session, and how many of them there may be.
 *
 * As with sessions, nobody can lock others out. Past the limit an anonymous client makes room for one that has said who it
 * is; where there is none, the principal with the most streams for one that has clearly fewer. The oldest stream ends. Nobody
 * makes room for an equal: a client whose stream was ended comes back, and would have to be given room in turn.
 */
export class ListeningClients {
  readonly #max: number
  readonly #maxPerPrincipal: number
  // The oldest first.
  readonly #anonymous = new Set<ListeningPlace>()
  readonly #named = new Map<string, Set<ListeningPlace>>()
  #count = 0

  /** @param maxPerPrincipal streams of one principal; Infinity: no limit */
  constructor (max: number, maxPerPrincipal: number) {
    this.#max = max
    this.#maxPerPrincipal = maxPerPrincipal
  }

  /** @throws SessionLimitError when there is no room for another stream of this principal */
  admit (principal: string | undefined): ListeningPlace {
    const own = this.#of(principal)
    if (principal !== undefined && own.size >= this.#maxPerPrincipal) throw new SessionLimitError()
    if (this.#count >= this.#max && (principal === undefined || !this.#makeRoom(own.size))) throw new SessionLimitError()
    const place = new ListeningPlace(principal)
    own.add(place)
    if (principal !== undefined) this.#named.set(principal, own)
    this.#count++
    return place
  }

  /** Frees the place. Does nothing the second time. */
  leave (place: ListeningPlace): void {
    const own = this.#of(place.principal)
    if (!own.delete(place)) return
    this.#count--
    if (place.principal !== undefined && own.size === 0) this.#named.delete(place.principal)
  }

  #of (principal: string | undefined): Set<ListeningPlace> {
    return principal === undefined ? this.#anonymous : this.#named.get(principal) ?? new Set()
  }

  #makeRoom (own: number): boolean {
    const place = findOpen(this.#anonymous) ?? this.#findHeaviest(own)
    if (place === undefined) return false
    this.leave(place)
    place.end?.()
    return true
  }

  #findHeaviest (own: number): ListeningPlace | undefined {
    let heaviest: ListeningPlace | undefined
    // After giving one up, it must still have as many as the newcomer will have.
    let most = own + 1
    for (const places of this.#named.values()) {
      if (places.size <= most) continue
      const place = findOpen(places)
      if (place === undefined) continue
      heaviest = place
      most = places.size
    }
    return heaviest
  }
}

function findOpen (places: ReadonlySet<ListeningPlace>): ListeningPlace | undefined {
  for (const place of places) if (place.end !== undefined) return place
  return undefined
}
