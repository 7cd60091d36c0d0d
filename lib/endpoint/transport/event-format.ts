// https://html.spec.whatwg.org/multipage/server-sent-events.html

/** One message, as JSON, as an event. */
export function formatEvent (data: string, id = ''): string {
  return id === '' ? `event: message\ndata: ${data}\n\n` : `event: message\nid: ${id}\ndata: ${data}\n\n`
}

/**
 * The event that gives a client an id to come back with before there is anything to say.
 *
 * @param retryInterval milliseconds after which it is to come back
 */
export function formatPriming (id: string, retryInterval: number): string {
  return `id: ${id}\nretry: ${retryInterval}\ndata: \n\n`
}
