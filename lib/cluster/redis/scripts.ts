import { createHash } from 'node:crypto'

/*
 * Every change of a session is one script on the keys of that session, so that nothing can come between a
 * check and the write that depends on it. Reads are scripts too: ioredis may send plain reads of a Redis
 * Cluster to replicas (`scaleReads`), which do not know yet what a master has just been told.
 *
 * Session scripts get two keys in one hash slot: the record (a hash) and its events (a stream).
 */

const EXPIRE = `
local function expire (key, life)
  if tonumber(life) > 0 then redis.call('PEXPIRE', key, life) else redis.call('PERSIST', key) end
end
`

/** life, field, value, … -> epoch | nil. The clock as first epoch keeps an id that is used again ahead. */
const create = `${EXPIRE}
if redis.call('EXISTS', KEYS[1]) == 1 then return nil end
local now = redis.call('TIME')
local epoch = now[1] .. string.format('%06d', tonumber(now[2]))
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'epoch', epoch, unpack(ARGV, 2))
expire(KEYS[1], ARGV[1])
return epoch
`

const read = `
return redis.call('HGETALL', KEYS[1])
`

/** epoch, owner, lastAccessedAt, life -> the record, or an empty list */
const claim = `${EXPIRE}
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return {} end
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'lastAccessedAt', ARGV[3])
expire(KEYS[1], ARGV[4])
expire(KEYS[2], ARGV[4])
return redis.call('HGETALL', KEYS[1])
`

/** 'touch' | 'release', then epoch, lastAccessedAt, life of each session -> the indexes that are lost */
const touch = `${EXPIRE}
local lost = {}
for i = 1, #KEYS / 2 do
  local record, events = KEYS[2 * i - 1], KEYS[2 * i]
  local epoch, used, life = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  if redis.call('HGET', record, 'epoch') ~= epoch then
    lost[#lost + 1] = i - 1
  else
    redis.call('HSET', record, 'lastAccessedAt', used)
    if ARGV[1] == 'release' then
      redis.call('HDEL', record, 'owner')
      redis.call('HINCRBY', record, 'epoch', 1)
    end
    expire(record, life)
    expire(events, life)
  end
end
return lost
`

/** epoch, then field and value pairs, an empty value removes the field -> 1 | 0 */
const update = `
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
`

/** epoch or '' -> the record that was removed, or an empty list */
const remove = `
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return {} end
local record = redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[1], KEYS[2])
return record
`

/**
 * epoch, most events, most bytes, stream, pending, data, then ids of events that have reached their client
 * -> the id of the event, and how many of those ids are dealt with; nil if the epoch is another.
 *
 * What is over the bounds goes: first what has reached its client, then what is oldest. `eventBytes` of the record counts;
 * it begins again with the events, for Redis may have evicted them.
 */
const store = `
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return nil end
local id = redis.call('XADD', KEYS[2], '*', 'stream', ARGV[4], 'pending', ARGV[5], 'data', ARGV[6])
local length = redis.call('XLEN', KEYS[2])
local bytes = #ARGV[6]
if length > 1 then bytes = bytes + (redis.call('HGET', KEYS[1], 'eventBytes') or 0) end
local function drop (event)
  if not event then return false end
  redis.call('XDEL', KEYS[2], event[1])
  length = length - 1
  bytes = bytes - #event[2][6]
  return true
end
local function over ()
  return length > tonumber(ARGV[2]) or bytes > tonumber(ARGV[3])
end
local dealt = 0
while over() and ARGV[7 + dealt] do
  local delivered = ARGV[7 + dealt]
  drop(redis.call('XRANGE', KEYS[2], delivered, delivered)[1])
  dealt = dealt + 1
end
while over() and drop(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]) do end
redis.call('HSET', KEYS[1], 'eventBytes', bytes)
local life = redis.call('PTTL', KEYS[1])
if life > 0 then redis.call('PEXPIRE', KEYS[2], life) end
return { id, dealt }
`

/**
 * stream, where to begin, how many events to look at
 * -> the last id ever given, the oldest kept, the last one looked at, then id, pending, data of those of the stream;
 * an empty list when no events are kept.
 */
const events = `
if redis.call('EXISTS', KEYS[2]) == 0 then return {} end
local last
local info = redis.call('XINFO', 'STREAM', KEYS[2])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then last = info[i + 1] end
end
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local page = redis.call('XRANGE', KEYS[2], ARGV[2], '+', 'COUNT', ARGV[3])
local reply = { last, oldest and oldest[1] or last, #page > 0 and page[#page][1] or '' }
for _, event in ipairs(page) do
  if event[2][2] == ARGV[1] then
    reply[#reply + 1] = event[1]
    reply[#reply + 1] = event[2][4]
    reply[#reply + 1] = event[2][6]
  end
end
return reply
`

/** url, lease -> 1 | 0. Keys: the lease, the mailbox. */
const announce = `
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 0 end
redis.call('DEL', KEYS[2])
return 1
`

/** lease -> the messages | nil. A lease that is over stays over: only a new id may be announced. */
const renew = `
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return nil end
local messages = redis.call('LRANGE', KEYS[2], 0, -1)
redis.call('DEL', KEYS[2])
return messages
`

const withdraw = `
return redis.call('DEL', KEYS[1], KEYS[2])
`

/** -> url and milliseconds left, or an empty list */
const peer = `
local url = redis.call('GET', KEYS[1])
if not url then return {} end
return { url, tostring(redis.call('PTTL', KEYS[1])) }
`

/** message, maximum -> 1 | 0. The mailbox outlives its node by no more than a lease. */
const send = `
local life = redis.call('PTTL', KEYS[1])
if life < 0 then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[2]), -1)
redis.call('PEXPIRE', KEYS[2], life + 60000)
return 1
`

/** KEYS: the log. ARGV: message, channel. Writes to the log, and wakes those who read it. A client may be away for half of its life. */
const publish = `
redis.call('XADD', KEYS[1], 'MAXLEN', '~', 1000, '*', 'message', ARGV[1])
redis.call('PEXPIRE', KEYS[1], 60000)
redis.call('PUBLISH', ARGV[2], '')
return 1
`

/** KEYS: the log. ARGV: last id that was read -> [now in milliseconds, last id, [[id, message], …]]. A log that was emptied begins anew. */
const published = `
local now = redis.call('TIME')
local last, entries = ARGV[1], {}
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '(' .. last, '+')) do
  entries[#entries + 1] = { entry[1], entry[2][2] }
end
if newest then last = newest[1] end
return { tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000), last, entries }
`

/** KEYS: a count. -> how often it was counted in its minute, this time included. */
const count = `
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], 60000) end
return count
`

/** proposal -> the secret */
const secret = `
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
`

export interface Script {
  /** The name of the client's method. Made from the text, so that two versions of this package can share a client. */
  readonly command: string
  readonly lua: string
}

export const scripts = {
  create: defineScript('create', create),
  read: defineScript('read', read),
  claim: defineScript('claim', claim),
  touch: defineScript('touch', touch),
  update: defineScript('update', update),
  remove: defineScript('remove', remove),
  store: defineScript('store', store),
  events: defineScript('events', events),
  announce: defineScript('announce', announce),
  renew: defineScript('renew', renew),
  withdraw: defineScript('withdraw', withdraw),
  peer: defineScript('peer', peer),
  send: defineScript('send', send),
  count: defineScript('count', count),
  publish: defineScript('publish', publish),
  published: defineScript('published', published),
  secret: defineScript('secret', secret)
}

export type ScriptName = keyof typeof scripts

function defineScript (name: string, lua: string): Script {
  return { command: `mcpSessions_${name}_${createHash('sha256').update(lua).digest('hex').slice(0, 8)}`, lua }
}
