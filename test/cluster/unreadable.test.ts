// Records that somebody else has written, or damaged: those sessions are gone, and nothing else is.
import type { Redis } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { RedisCommands } from '../../lib/cluster/redis/commands.js'
import { createCluster, type ClusterApp } from '../helpers/cluster/cluster-apps.js'
import { needsRedis, startRedis } from '../helpers/redis/redis-server.js'

const damages: Record<string, (redis: Redis, key: string) => Promise<unknown>> = {
  'of another type': async (redis, key) => {
    await redis.del(key)
    await redis.set(key, 'text')
  },
  'without an epoch': (redis, key) => redis.hdel(key, 'epoch'),
  'at the epoch -1': (redis, key) => redis.hset(key, 'epoch', '-1'),
  'at an epoch that is text': (redis, key) => redis.hset(key, 'epoch', 'nan'),
  'without an id': (redis, key) => redis.hdel(key, 'id'),
  'with the id of another': (redis, key) => redis.hset(key, 'id', 'another'),
  'without its times': (redis, key) => redis.hdel(key, 'createdAt', 'lastAccessedAt'),
  'with metadata that are no JSON': (redis, key) => redis.hset(key, 'metadata', '{'),
  'with metadata that are no object': (redis, key) => redis.hset(key, 'metadata', '[1]'),
  'with a state that is null': (redis, key) => redis.hset(key, 'state', 'null'),
  'with nothing but rubbish': async (redis, key) => {
    await redis.del(key)
    await redis.hset(key, 'colour', 'blue', 'size', '7')
  }
}

const keyOf = ({ redis, prefix }: ClusterApp, id: string): string => new RedisCommands({ redis, prefix }).sessionKeys(id)[0]

async function ask ({ url }: ClusterApp, id: string): Promise<number> {
  const response = await fetch(`${url}/here`, { headers: { 'mcp-session-id': id, authorization: 'ann', connection: 'close' } })
  await response.text()
  return response.status
}

async function commandsOf (redis: Redis): Promise<number> {
  return Number(/total_commands_processed:(\d+)/.exec(await redis.info('stats'))?.[1])
}

t.test('a record that cannot be read', needsRedis(), async (t) => {
  const { url, stop } = await startRedis()
  t.teardown(stop)
  for (const [what, damage] of Object.entries(damages)) {
    t.test(what, async (t) => {
      const addNode = createCluster(t, url)
      const routes: NonNullable<Parameters<typeof addNode>[0]>['routes'] = async (app) => {
        app.get('/here', { config: { mcpSession: 'required' } }, async ({ mcpSession }) => {
          app.sessionManager.update(mcpSession?.id ?? '', { asked: true })
          return {}
        })
      }
      const [one, two, leaver] = [await addNode({ routes }), await addNode({ routes }), await addNode({ routes })]
      const open = async (node: ClusterApp): Promise<string> => {
        const id = node.app.sessionManager.create({}, { principal: 'ann' })
        t.equal(await ask(node, id), 200)
        return id
      }
      const [served, free, good] = [await open(one), await open(leaver), await open(one)]
      await leaver.app.close()
      for (const id of [served, free]) await damage(one.redis, keyOf(one, id))

      const before = await commandsOf(one.redis)
      for (const id of [served, free]) {
        t.equal(await ask(two, id), 404, 'for a node that does not serve it')
        t.equal(await ask(two, id), 404)
      }
      t.match(await ask(one, served), /^(200|404|502|503)$/, 'its owner goes on with what it has, or drops it')
      t.equal(await ask(one, good), 200, 'others are as they were')
      const log = two.log.filter((line) => line.includes('cannot be read'))
      t.equal(log.length, 2, 'each is told of once')
      t.notOk(log.some((line) => line.includes(served) || line.includes(free)), 'without the id')
      await sleep(600)
      const spent = await commandsOf(one.redis) - before
      t.ok(spent < 200, `no loop: ${spent} commands`)

      const listed = []
      let unreadable = 0
      for await (const { id } of two.app.sessionDirectory.list({ onUnreadable: () => { unreadable++ } })) listed.push(id)
      t.notOk(listed.includes(free))
      t.ok(listed.includes(good))
      t.ok(unreadable > 0, 'and it is said that some are left out')
      await two.app.sessionDirectory.terminate(free)
      t.equal(await one.redis.exists(keyOf(one, free)), 0, 'what nobody can read can be removed')
    })
  }
})
