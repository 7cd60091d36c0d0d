// Elements are made and filled here alone, and with text alone: names come from clients, and are never markup.

const SVG = 'http://www.w3.org/2000/svg'

export function byId (id) {
  return document.getElementById(id)
}

/** Leaves the element alone if it says so already: a reader's place and a selection stay. */
export function write (element, text) {
  if (element.textContent !== text) element.textContent = text
}

export function make (name, { text, ...attributes } = {}, ...children) {
  return fill(document.createElement(name), text, attributes, children)
}

export function draw (name, { text, ...attributes } = {}, ...children) {
  return fill(document.createElementNS(SVG, name), text, attributes, children)
}

function fill (element, text, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  if (text !== undefined) element.textContent = text
  element.append(...children)
  return element
}
