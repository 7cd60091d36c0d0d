import { byId } from './elements.js'
import { say } from './say.js'

// How long somebody may rest while typing, in milliseconds.
const REST = 250

/** Which sessions are asked for, and in what order. */
export class TableQuery {
  #query = { search: '', sort: 'idle', order: 'asc' }
  #isOpen = false
  #typing
  #onChange

  constructor (onChange) {
    this.#onChange = onChange
    byId('search').addEventListener('input', () => this.#wait())
    for (const head of document.querySelectorAll('th[data-sort]')) {
      head.firstElementChild.addEventListener('click', () => this.#sortBy(head.dataset.sort))
    }
    this.#showOrder()
  }

  get query () {
    return this.#query
  }

  /** Says how many there are: once for each question, and not whenever a session comes or goes. */
  answer () {
    if (!this.#isOpen) return
    this.#isOpen = false
    byId('session-table').removeAttribute('aria-busy')
    say(`Sessions: ${byId('count').textContent}`)
  }

  #wait () {
    clearTimeout(this.#typing)
    this.#typing = setTimeout(() => {
      const search = byId('search').value.trim()
      if (search !== this.#query.search) this.#ask({ search })
    }, REST)
  }

  #sortBy (sort) {
    const order = this.#query.sort === sort && this.#query.order === 'asc' ? 'desc' : 'asc'
    headOf(this.#query.sort).removeAttribute('aria-sort')
    this.#ask({ sort, order })
    this.#showOrder()
  }

  #ask (change) {
    this.#query = { ...this.#query, ...change }
    this.#isOpen = true
    byId('session-table').setAttribute('aria-busy', 'true')
    this.#onChange()
  }

  #showOrder () {
    headOf(this.#query.sort).setAttribute('aria-sort', this.#query.order === 'asc' ? 'ascending' : 'descending')
  }
}

function headOf (sort) {
  return document.querySelector(`th[data-sort="${sort}"]`)
}
