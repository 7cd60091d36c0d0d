/** What a node has written of the body of an answer. */
export interface WrittenBody {
  readonly bytes: number
  /** The `content-encoding` of the answer; empty: none. */
  readonly encoding: string
}

/** What a node says of the hops that it was asked about. */
export interface HopReport {
  /** The ids of those that it does not have: the request never came, or all of the answer has been sent. */
  readonly missing: ReadonlySet<string>
  /** What it has written so far, by id. Those are not in it for which it has written nothing. */
  readonly written: ReadonlyMap<string, WrittenBody>
}

/** One of the hops, as the node that serves it sees it. */
export interface ServedHop {
  readonly isAnswered: boolean
  readonly written: number
  readonly encoding: string
}

/**
 * A report as text. `a,b=1k,c=2=gzip` says that the node does not have `a`, and has written 56 bytes in answer to `b` and two
 * bytes, with gzip, in answer to `c`.
 *
 * @param asked the ids, with commas between them
 */
export function formatReport (asked: string, served: ReadonlyMap<string, ServedHop>): string {
  const parts: string[] = []
  for (const id of asked.split(',')) {
    const hop = served.get(id)
    if (hop === undefined || hop.isAnswered) parts.push(id)
    else if (hop.written > 0) parts.push(`${id}=${hop.written.toString(36)}${formatEncoding(hop)}`)
  }
  return parts.join()
}

function formatEncoding ({ encoding }: ServedHop): string {
  return encoding === '' ? '' : `=${encodeURIComponent(encoding)}`
}

/** Reads what `formatReport` has written. */
export function parseReport (report: string): HopReport {
  const missing = new Set<string>()
  const written = new Map<string, WrittenBody>()
  for (const part of report.split(',')) {
    const [id = '', bytes, encoding = ''] = part.split('=')
    if (bytes === undefined) missing.add(id)
    else written.set(id, { bytes: parseInt(bytes, 36), encoding: decodeURIComponent(encoding) })
  }
  return { missing, written }
}
