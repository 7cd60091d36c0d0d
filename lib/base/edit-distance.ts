/** How many letters have to be added, left out or exchanged to turn one word into the other. */
export function editDistance (one: string, other: string): number {
  // How far the letters of `one` so far are from the first 0, 1, 2… letters of `other`.
  let row = Array.from({ length: other.length + 1 }, (_, length) => length)
  let distance = other.length
  for (const letter of one) {
    let diagonal = NaN
    row = row.map((above, length) => {
      const exchanged = diagonal + (letter === other[length - 1] ? 0 : 1)
      distance = length === 0 ? above + 1 : Math.min(exchanged, above + 1, distance + 1)
      diagonal = above
      return distance
    })
  }
  return distance
}
