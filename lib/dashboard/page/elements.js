// Elements are made and filled only here, and only with text: names come from clients, and must never be markup.

const SVG = 'http://www.w3.org/2000/svg'

export function byId (id) {
  return document.getElementById(id)
}

/** Writes a text into an element. If it is there already the element is left alone, so that a selection stays. */
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
