// The tools of the public workload: https://github.com/http4k/benchmark-mcp-servers-v2, written anew from its contract.
import { McpServer as McpServer1 } from '@modelcontextprotocol/sdk/server/mcp.js'
import { AjvJsonSchemaValidator as Validator1 } from '@modelcontextprotocol/sdk/validation/ajv-provider.js'
import { McpServer as McpServer2 } from '@modelcontextprotocol/server'
import { AjvJsonSchemaValidator as Validator2 } from '@modelcontextprotocol/server/validators/ajv'
import { Redis } from 'ioredis'
import { request } from 'undici'
import { z } from 'zod'

interface Product {
  readonly id: number
  readonly name: string
  readonly price: number
}

interface Item {
  readonly product_id: number
  readonly quantity: number
}

const serverInfo = { name: 'shop', version: '1.0.0' }

/** What the tools do: each asks an HTTP service and Redis. */
export class Shop {
  readonly #redis: Redis
  readonly #api: string

  constructor (redisUrl: string, apiUrl: string) {
    this.#redis = new Redis(redisUrl)
    this.#api = apiUrl
  }

  async search (args: { category: string, min_price: number, max_price: number, limit: number }) {
    const query = new URLSearchParams({ category: args.category, min_price: `${args.min_price}`, max_price: `${args.max_price}`, limit: `${args.limit}` })
    const found = await this.#ask<{ total_found: number, products: Product[] }>(`/products/search?${query}`)
    const popular = (await this.#redis.zrevrange('bench:popular', 0, 9)).map((member) => Number(member.slice('product:'.length)))
    const products = found.products.map((product) => ({ ...product, popularity_rank: popular.indexOf(product.id) + 1 }))
    return toResult({ category: args.category, total_found: found.total_found, products, top10_popular_ids: popular })
  }

  async cart ({ user_id: user }: { user_id: string }) {
    const cart = await this.#redis.hgetall(`bench:cart:${user}`)
    const items = Object.entries(cart).map(([id, quantity]) => ({ product_id: Number(id), quantity: Number(quantity) }))
    const [product, recent] = await Promise.all([
      this.#ask<Product>(`/products/${items[0]?.product_id ?? 1}`),
      this.#redis.lrange(`bench:history:${user}`, 0, 4)
    ])
    const count = items.reduce((sum, { quantity }) => sum + quantity, 0)
    return toResult({ user_id: user, cart: { items, item_count: count, estimated_total: product.price * count }, recent_history: recent.map((order) => JSON.parse(order)) })
  }

  async checkout ({ user_id: user, items }: { user_id: string, items: Item[] }) {
    const order = { order_id: `order-${user}-${Date.now()}`, items }
    const [{ total }, count] = await Promise.all([
      this.#ask<{ total: number }>('/cart/calculate', { items }),
      this.#redis.incr(`bench:ratelimit:${user}`),
      this.#redis.rpush(`bench:history:${user}`, JSON.stringify(order)),
      ...items.map(({ product_id: id }) => this.#redis.zincrby('bench:popular', 1, `product:${id}`))
    ])
    return toResult({ order_id: order.order_id, user_id: user, total, items_count: items.length, rate_limit_count: count, status: 'confirmed' })
  }

  async #ask <T> (path: string, body?: object): Promise<T> {
    const { body: answer } = await request(this.#api + path, body === undefined
      ? {}
      : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    const parsed: T = JSON.parse(await answer.text())
    return parsed
  }
}

function createSchemas () {
  return {
    search: z.object({
      category: z.string().default('Electronics'),
      min_price: z.number().default(50),
      max_price: z.number().default(500),
      limit: z.number().int().default(10)
    }),
    cart: z.object({ user_id: z.string().default('user-00042') }),
    checkout: z.object({
      user_id: z.string().default('user-00042'),
      items: z.array(z.object({ product_id: z.number().int(), quantity: z.number().int() })).default([{ product_id: 42, quantity: 2 }, { product_id: 1337, quantity: 1 }])
    })
  }
}

/**
 * What makes a server of SDK 1 with the three tools.
 *
 * @param once whether schemas and validator are made once for all servers, and not for each
 */
export function createServers1 (shop: Shop, once: boolean): () => McpServer1 {
  const shared = createSchemas()
  const jsonSchemaValidator = new Validator1()
  return () => {
    const { search, cart, checkout } = once ? shared : createSchemas()
    const server = new McpServer1(serverInfo, once ? { jsonSchemaValidator } : {})
    server.registerTool('search_products', { description: 'Finds products', inputSchema: search }, (args) => shop.search(args))
    server.registerTool('get_user_cart', { description: 'The cart of a user', inputSchema: cart }, (args) => shop.cart(args))
    server.registerTool('checkout', { description: 'Orders', inputSchema: checkout }, (args) => shop.checkout(args))
    return server
  }
}

/** The same of SDK 2. */
export function createServers2 (shop: Shop, once: boolean): () => McpServer2 {
  const shared = createSchemas()
  const jsonSchemaValidator = new Validator2()
  return () => {
    const { search, cart, checkout } = once ? shared : createSchemas()
    const server = new McpServer2(serverInfo, once ? { jsonSchemaValidator } : {})
    server.registerTool('search_products', { description: 'Finds products', inputSchema: search }, (args) => shop.search(args))
    server.registerTool('get_user_cart', { description: 'The cart of a user', inputSchema: cart }, (args) => shop.cart(args))
    server.registerTool('checkout', { description: 'Orders', inputSchema: checkout }, (args) => shop.checkout(args))
    return server
  }
}

function toResult (value: object): { content: Array<{ type: 'text', text: string }> } {
  return { content: [{ type: 'text', text: JSON.stringify(value) }] }
}
