/** What a client asked for, and what came of it. Times are milliseconds of `performance.now()` of one process. */
export interface Operation {
  kind: 'open' | 'notify' | 'count' | 'delete'
  /** The session; empty when none was opened. */
  session: string
  /** The index of the node that was asked. */
  node: number
  sent: number
  /** When the answer was there, or it was clear that none would come. */
  over: number
  /** Undefined: the connection broke, or the client gave up. Then nobody knows whether it was carried out. */
  status: number | undefined
  /** What the counter of the session stood at, when it said so. */
  count?: number | undefined
  /** The beginning of an answer that is no count. */
  said?: string | undefined
  /** Which live copy of the session answered. */
  instance?: string | undefined
}

/** What was done to the cluster, and what that can cost by what the README says. */
export interface Fault {
  name: string
  from: number
  /** Infinity while it lasts. */
  to: number
  /** The indexes of the nodes that were dead or stood still meanwhile. */
  nodes: readonly number[]
  /** Whether they kept their connections, and said nothing on them. */
  isSilent: boolean
  /** What Redis forgot: nothing, what it had acknowledged last, or everything. */
  loses: 'nothing' | 'latest' | 'everything'
  /** Whether Redis may have lost something, as far as the nodes know: they do not take its word for what is gone, for a while. */
  isDoubted: boolean
  /** Whether connections between nodes broke, or said nothing, while those were well. */
  isBetweenNodes: boolean
}

export type FaultTraits = Partial<Omit<Fault, 'name' | 'from' | 'to'>>

export class History {
  readonly operations: Operation[] = []
  readonly faults: Fault[] = []

  /** Writes down the beginning of a fault; call what it returns at its end. */
  begin (name: string, traits: FaultTraits = {}): () => void {
    const from = performance.now()
    const fault: Fault = { name, from, to: Infinity, nodes: [], isSilent: false, loses: 'nothing', isDoubted: false, isBetweenNodes: false, ...traits }
    this.faults.push(fault)
    return () => { fault.to = performance.now() }
  }
}
