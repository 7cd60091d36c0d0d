import type { SessionRecord } from './session-record.js'

/** A node of a circular list. Its links are private, so that a session, which is a node, still looks like plain data. */
export class ListNode {
  #previous: ListNode = this
  #next: ListNode = this

  /** The session whose place in the list it is. Undefined for the head of a list, and for a mark in it. */
  get session (): SessionRecord | undefined {
    return undefined
  }

  get isLinked (): boolean {
    return this.#next !== this
  }

  get next (): ListNode {
    return this.#next
  }

  /** Puts this node, which must be in no list, in front of another one. */
  linkBefore (other: ListNode): void {
    const previous = other.#previous
    this.#previous = previous
    this.#next = other
    previous.#next = this
    other.#previous = this
  }

  unlink (): void {
    this.#previous.#next = this.#next
    this.#next.#previous = this.#previous
    this.#previous = this
    this.#next = this
  }
}

/** A node that is the place of a session. */
export interface Place extends ListNode {
  readonly session: SessionRecord
}

export function isPlace (node: ListNode): node is Place {
  return node.session !== undefined
}
