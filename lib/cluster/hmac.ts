import { createHmac, hash } from 'node:crypto'

// The sizes of SHA-256, in bytes.
const BLOCK = 64
const DIGEST = 32
// Keys for which the shortcut holds: combined with the paddings, which are ASCII, they are still one byte for each character.
const ASCII_BLOCK = new RegExp(`^[\\x00-\\x7f]{0,${BLOCK}}$`)

/**
 * HMAC-SHA-256 (RFC 2104) with one secret, in base64url. `createHmac` makes a stream and a native object for each signature,
 * which is most of what a short one costs; `hash` makes none.
 */
export function createSigner (secret: string): (text: string) => string {
  if (!ASCII_BLOCK.test(secret)) return (text) => createHmac('sha256', secret).update(text).digest('base64url')
  const inner = pad(secret, 0x36).toString('latin1')
  const outer = Buffer.concat([pad(secret, 0x5c), Buffer.alloc(DIGEST)])
  return (text) => {
    outer.write(hash('sha256', inner + text, 'binary'), BLOCK, 'latin1')
    return hash('sha256', outer, 'base64url')
  }
}

function pad (key: string, padding: number): Buffer {
  return Buffer.from(Array.from({ length: BLOCK }, (_, i) => (i < key.length ? key.charCodeAt(i) : 0) ^ padding))
}
