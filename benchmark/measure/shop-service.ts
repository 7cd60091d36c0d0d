// The HTTP service that the shop's tools ask: 100,000 products. What it does is not measured, so it remembers its searches.
import { createServer, type IncomingMessage } from 'node:http'
import { once } from 'node:events'

const CATEGORIES = ['Electronics', 'Books', 'Garden', 'Toys', 'Kitchen', 'Sports', 'Music', 'Health', 'Office', 'Food']
const products = Array.from({ length: 100_000 }, (_, index) => ({
  id: index + 1,
  sku: `SKU-${index + 1}`,
  name: `Product ${index + 1}`,
  category: CATEGORIES[index % CATEGORIES.length],
  price: ((index * 7919) % 200_000) / 100 + 1,
  rating: (index % 50) / 10
}))
const searches = new Map<string, string>()

const server = createServer(async (request, response) => {
  const url = new URL(request.url ?? '', 'http://127.0.0.1')
  response.setHeader('content-type', 'application/json')
  response.end(request.method === 'POST' ? calculate(await readBody(request)) : url.pathname === '/products/search' ? search(url) : find(url))
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const address = server.address()
process.once('disconnect', () => process.exit())
process.send?.({ urls: [`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`] })

function search ({ search, searchParams }: URL): string {
  const known = searches.get(search)
  if (known !== undefined) return known
  const [low, high] = [Number(searchParams.get('min_price')), Number(searchParams.get('max_price'))]
  const found = products.filter(({ category, price }) => category === searchParams.get('category') && price >= low && price <= high)
  const answer = JSON.stringify({ total_found: found.length, products: found.slice(0, Number(searchParams.get('limit'))) })
  searches.set(search, answer)
  return answer
}

function find ({ pathname }: URL): string {
  return JSON.stringify(products[Number(pathname.split('/').at(-1)) - 1] ?? null)
}

function calculate (body: string): string {
  const { items }: { items: Array<{ product_id: number, quantity: number }> } = JSON.parse(body)
  return JSON.stringify({ total: items.reduce((sum, { product_id: id, quantity }) => sum + quantity * (products[id - 1]?.price ?? 0), 0) })
}

async function readBody (request: IncomingMessage): Promise<string> {
  let body = ''
  for await (const chunk of request) body += String(chunk)
  return body
}
