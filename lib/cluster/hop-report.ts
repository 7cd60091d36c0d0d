/** What a node says of the hops that it was asked about. */
export interface HopReport {
  /** The ids of those that it has not: the request never came, or its answer is on its way. */
  readonly missing: ReadonlySet<string>
  /** How many bytes of the body of its answer it has written so far, by the ids of those for which it has written any. */
  readonly written: ReadonlyMap<string, number>
}

/** One of the hops, as the node that serves it sees it. */
export interface ServedHop {
  readonly isAnswered: boolean
  readonly written: number
}

/**
 * `a,b=1k`: it has not got `a`, and has written 56 bytes in answer to `b`.
 *
 * @param asked the ids, with commas between them
 */
export function formatReport (asked: string, served: ReadonlyMap<string, ServedHop>): string {
  const parts: string[] = []
  for (const id of asked.split(',')) {
    const hop = served.get(id)
    if (hop === undefined || hop.isAnswered) parts.push(id)
    else if (hop.written > 0) parts.push(`${id}=${hop.written.toString(36)}`)
  }
  return parts.join()
}

export function parseReport (report: string): HopReport {
  const missing = new Set<string>()
  const written = new Map<string, number>()
  for (const part of report.split(',')) {
    const [id = '', bytes] = part.split('=')
    if (bytes === undefined) missing.add(id)
    else written.set(id, parseInt(bytes, 36))
  }
  return { missing, written }
}
