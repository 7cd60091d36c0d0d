// What things are called on the page.

const LONGEST = 80
const UNSEEN = /(?!\ufe0f)[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u

export const count = new Intl.NumberFormat('en')
export const clock = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })
export const minute = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })

/** Text of others as it may be shown: control, direction and invisible characters are written out, and it is cut. */
export function visible (text, longest = LONGEST) {
  let shown = ''
  for (const character of text) {
    if (shown.length >= longest) return `${shown}…`
    shown += UNSEEN.test(character) ? `\\u{${character.codePointAt(0).toString(16)}}` : character
  }
  return shown
}

/** All of it, for those who point at what was cut; empty when it is short enough to be read where it is. */
export function inFull (text) {
  return text.length > LONGEST / 4 ? visible(text, 500) : ''
}

export function duration (ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${pad(seconds % 60)}s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ${pad(Math.floor(seconds / 60) % 60)}m`
  return `${Math.floor(seconds / 86_400)}d ${Math.floor(seconds / 3600) % 24}h`
}

function pad (number) {
  return String(number).padStart(2, '0')
}
