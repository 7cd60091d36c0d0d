import { byId } from './elements.js'

/** Says what came of something that somebody did, to those who look and those who listen. */
export function say (text, failed = false) {
  byId('said').dataset.failed = String(failed)
  byId('said').textContent = text
}
