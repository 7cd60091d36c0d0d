import { createHash } from 'node:crypto'

/*
 * Every change of a session is one script on the keys of that session, so that nothing can come between a
 * check and the write that depends on it. Reads are scripts too: ioredis may send plain reads of a Redis
 * Cluster to replicas (`scaleReads`), which do not know yet what a master has just been told.
 *
 * Session scripts get three keys in one hash slot: the record (a hash), its events (a stream), and the index of the shard (a
 * sorted set). In the index each session has the end of its key, with the time at which its record expires as the score: so
 * the sessions that there are can be counted without a walk, whether somebody serves them or not.
 */

const KEEP = `
local function expire (key, life)
  if tonumber(life) > 0 then redis.call('PEXPIRE', key, life) else redis.call('PERSIST', key) end
end
local function member (record)
  return string.match(record, '[^:]*$')
end
local function keep (record, events, index, life)
  expire(record, life)
  expire(events, life)
  local till = redis.call('PEXPIRETIME', record)
  redis.call('ZADD', index, till < 0 and 'inf' or till, member(record))
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local over = redis.call('ZRANGE', index, '-inf', now, 'BYSCORE', 'LIMIT', 0, 8)
  if #over > 0 then redis.call('ZREM', index, unpack(over)) end
  local last = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]
  if last == 'inf' then redis.call('PERSIST', index) else redis.call('PEXPIREAT', index, last) end
end
`

/*
 * An epoch is the clock of Redis in microseconds, with 16 digits, a dash, and what the caller has drawn at random. So later
 * ones compare as greater, and two histories of one session, as after a failover that has lost a claim, never have the same
 * epoch. A key of another type holds no session.
 */
const EPOCH = `
local function epochOf (key)
  local epoch = redis.pcall('HGET', key, 'epoch')
  return type(epoch) == 'string' and epoch
end
local function rank (epoch)
  return tonumber(string.match(epoch, '^%d+')) or 0
end
local function newEpoch (after, random)
  local now = redis.call('TIME')
  return string.format('%016.0f-%s', math.max(now[1] * 1000000 + now[2], after + 1), random)
end
`

/**
 * KEYS: of the session. ARGV: life in ms or 0, random, owner, createdAt, then fields and values. Reply: the epoch; nil: the
 * id is taken. Who has created the session may do so again, for the answer may not have come.
 */
const create = `${KEEP}${EPOCH}
local known = epochOf(KEYS[1])
if known then
  local made = redis.call('HMGET', KEYS[1], 'owner', 'createdAt')
  if made[1] ~= ARGV[3] or made[2] ~= ARGV[4] then return nil end
elseif redis.call('EXISTS', KEYS[1]) == 1 then
  return nil
end
local epoch = newEpoch(rank(known or ''), ARGV[2])
redis.call('UNLINK', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'epoch', epoch, unpack(ARGV, 5))
keep(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
return epoch
`

/** KEYS: record. Reply: its fields and values; an empty list: there is none; one string: what is there is no record. */
const read = `
local record = redis.pcall('HGETALL', KEYS[1])
if record.err then return { record.err } end
return record
`

/**
 * KEYS: of the session. ARGV: epoch, owner or '', new owner, lastAccessedAt, life, random. Reply: the record as it is now;
 * an empty list: it is not as it was, or gone. Who owns it already may claim it, for the answer may not have come; and so
 * may who knows it as it was before a claim that was undone.
 */
const claim = `${KEEP}${EPOCH}
local epoch = epochOf(KEYS[1])
if not epoch then return {} end
local owner = redis.call('HGET', KEYS[1], 'owner') or ''
local isUndone = owner == '' and redis.call('HGET', KEYS[1], 'from') == ARGV[1]
if owner ~= ARGV[3] and (epoch ~= ARGV[1] or owner ~= ARGV[2]) and not isUndone then return {} end
redis.call('HSET', KEYS[1], 'epoch', newEpoch(rank(epoch), ARGV[6]), 'owner', ARGV[3], 'lastAccessedAt', ARGV[4])
redis.call('HDEL', KEYS[1], 'from')
keep(KEYS[1], KEYS[2], KEYS[3], ARGV[5])
return redis.call('HGETALL', KEYS[1])
`

/**
 * KEYS: of the session. ARGV: the epoch of the copy, its owner, 1 if it is certain, 1 if a record must exist, life, random,
 * then fields and values. Reply: the new epoch; nil: the record is later than the copy, or no record. One that is not
 * certain keeps the epoch of its copy as `from`, by which it is compared until somebody claims it.
 */
const recover = `${KEEP}${EPOCH}
local epoch = epochOf(KEYS[1])
if not epoch and (ARGV[4] == '1' or redis.call('EXISTS', KEYS[1]) == 1) then return nil end
if epoch and redis.call('HGET', KEYS[1], 'owner') ~= ARGV[2] then
  if rank(redis.call('HGET', KEYS[1], 'from') or epoch) > rank(ARGV[1]) then return nil end
end
local recovered = newEpoch(math.max(rank(ARGV[1]), rank(epoch or '')), ARGV[6])
redis.call('HDEL', KEYS[1], 'principal', 'metadata', 'state', 'from')
redis.call('HSET', KEYS[1], 'epoch', recovered, unpack(ARGV, 7))
if ARGV[3] ~= '1' then redis.call('HSET', KEYS[1], 'from', ARGV[1]) end
keep(KEYS[1], KEYS[2], KEYS[3], ARGV[5])
return recovered
`

/**
 * KEYS: of each session. ARGV: 'touch' or 'release', random, then epoch, lastAccessedAt, life, and the epoch before a claim
 * that is undone or '', of each. Reply: the indexes of those that are lost.
 */
const touch = `${KEEP}${EPOCH}
local lost = {}
for i = 1, #KEYS / 3 do
  local record, events, index = unpack(KEYS, 3 * i - 2, 3 * i)
  local epoch, used, life, from = unpack(ARGV, 4 * i - 1, 4 * i + 2)
  if epochOf(record) ~= epoch then
    lost[#lost + 1] = i - 1
  else
    redis.call('HSET', record, 'lastAccessedAt', used)
    if ARGV[1] == 'release' then
      redis.call('HDEL', record, 'owner')
      redis.call('HSET', record, 'epoch', newEpoch(rank(epoch), ARGV[2]))
      if from ~= '' then redis.call('HSET', record, 'from', from) end
    end
    keep(record, events, index, life)
  end
end
return lost
`

/**
 * KEYS: record. ARGV: epoch, then fields and values; an empty value removes the field. Reply: 1; 0: the record is at another
 * epoch, or gone.
 */
const update = `${EPOCH}
if epochOf(KEYS[1]) ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
`

/** KEYS: of the session. ARGV: epoch, or '' for any. Reply: the record that was removed; an empty list: none. */
const remove = `${KEEP}${EPOCH}
if ARGV[1] ~= '' and epochOf(KEYS[1]) ~= ARGV[1] then return {} end
local record = redis.pcall('HGETALL', KEYS[1])
redis.call('UNLINK', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], member(KEYS[1]))
if record.err then return { record.err } end
return record
`

/*
 * Drops events until the rest is within the bounds: first those that have reached their client, then the oldest. It drops only
 * a few at a time, because a large event may take the place of thousands. When it says that there is still too much, its
 * caller runs `trim` until there is not. The bytes are counted in `eventBytes` of the record.
 */
const TRIM = `
local function trim (length, bytes, delivered)
  local most, mostBytes = tonumber(ARGV[2]), tonumber(ARGV[3])
  local dealt, left, leftBytes = 0, 64, 131072
  local function over ()
    return length > most or bytes > mostBytes
  end
  local function may ()
    return over() and left > 0 and leftBytes > 0
  end
  local function drop (event)
    if not event then return end
    local size = #event[2][6]
    redis.call('XDEL', KEYS[2], event[1])
    length, bytes, left, leftBytes = length - 1, bytes - size, left - 1, leftBytes - size
  end
  while may() and delivered[dealt + 1] do
    dealt = dealt + 1
    drop(redis.call('XRANGE', KEYS[2], delivered[dealt], delivered[dealt])[1])
  end
  while may() do
    local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
    if oldest then drop(oldest) else length, bytes = 0, 0 end
  end
  redis.call('HSET', KEYS[1], 'eventBytes', bytes)
  return dealt, over() and 1 or 0
end
`

/**
 * KEYS: of the session. ARGV: epoch, most events, most bytes, stream, pending, data, then ids of events that have reached
 * their client. Reply: the id of the event, how many of those ids are dealt with, 1 if there is still too much; nil: the record
 * is at another epoch.
 *
 * `eventBytes` begins again with the first event, for Redis may have evicted the others. `eventLast` is the last id that was
 * given.
 */
const store = `${EPOCH}${TRIM}
if epochOf(KEYS[1]) ~= ARGV[1] then return nil end
local id = redis.call('XADD', KEYS[2], '*', 'stream', ARGV[4], 'pending', ARGV[5], 'data', ARGV[6])
local length = redis.call('XLEN', KEYS[2])
local bytes = #ARGV[6]
if length > 1 then bytes = bytes + (redis.call('HGET', KEYS[1], 'eventBytes') or 0) end
redis.call('HSET', KEYS[1], 'eventLast', id)
local dealt, over = trim(length, bytes, { unpack(ARGV, 7) })
local life = redis.call('PTTL', KEYS[1])
if life > 0 then redis.call('PEXPIRE', KEYS[2], life) end
return { id, dealt, over }
`

/**
 * KEYS: of the session. ARGV: epoch, most events, most bytes. Reply: 1 if there is still too much; 0: there is not, or the
 * record is at another epoch.
 */
const trim = `${EPOCH}${TRIM}
if epochOf(KEYS[1]) ~= ARGV[1] then return 0 end
local _, over = trim(redis.call('XLEN', KEYS[2]), tonumber(redis.call('HGET', KEYS[1], 'eventBytes') or 0), {})
return over
`

/**
 * KEYS: of the session. ARGV: stream, where to begin, how many events to look at, after how many bytes of them to stop. Reply: the
 * last id ever given, the oldest kept if there is none where to begin, the last one looked at, then id, pending, data of
 * those of the stream; an empty list: no events are kept.
 *
 * Events are read one by one, because nobody knows beforehand how large the next one is.
 */
const events = `
if redis.call('EXISTS', KEYS[2]) == 0 then return {} end
local last = redis.pcall('HGET', KEYS[1], 'eventLast')
if type(last) ~= 'string' then
  local info = redis.call('XINFO', 'STREAM', KEYS[2])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
end
local function next (from)
  return redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', 1)[1]
end
local from, bytes = ARGV[2], 0
local event = next(from)
local oldest = event
if string.sub(from, 1, 1) ~= '(' and not (event and event[1] == from) then oldest = next('-') end
local reply = { last, oldest and oldest[1] or last, '' }
for looked = 1, tonumber(ARGV[3]) do
  if not event then break end
  reply[3], bytes = event[1], bytes + #event[2][6]
  if event[2][2] == ARGV[1] then
    reply[#reply + 1] = event[1]
    reply[#reply + 1] = event[2][4]
    reply[#reply + 1] = event[2][6]
  end
  if bytes >= tonumber(ARGV[4]) or looked == tonumber(ARGV[3]) then break end
  event = next('(' .. event[1])
end
return reply
`

/** KEYS: indexes of shards. Reply: how many sessions there are in them. */
const size = `
local time = redis.call('TIME')
local now = string.format('(%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local size = 0
for _, index in ipairs(KEYS) do size = size + redis.call('ZCOUNT', index, now, '+inf') end
return size
`

/** KEYS: lease, mailbox. ARGV: url, lease in ms. Reply: 1; 0: the incarnation has a lease already. */
const announce = `
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 0 end
redis.call('DEL', KEYS[2])
return 1
`

/**
 * KEYS: lease, mailbox. ARGV: lease in ms. Reply: the messages; nil: the lease is over, and stays so, for only a new incarnation
 * may be announced.
 */
const renew = `
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return nil end
local messages = redis.call('LRANGE', KEYS[2], 0, -1)
redis.call('DEL', KEYS[2])
return messages
`

/** KEYS: lease, mailbox. Reply: how many of them there were. */
const withdraw = `
return redis.call('DEL', KEYS[1], KEYS[2])
`

/** KEYS: lease, mailbox. Reply: url and milliseconds left; an empty list: the lease is over. */
const peer = `
local url = redis.call('GET', KEYS[1])
if not url then return {} end
return { url, tostring(redis.call('PTTL', KEYS[1])) }
`

/**
 * KEYS: lease, mailbox. ARGV: message, most messages. Reply: 1; 0: the node is gone. The mailbox outlives the lease by no more
 * than a minute.
 */
const send = `
local life = redis.call('PTTL', KEYS[1])
if life < 0 then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[2]), -1)
redis.call('PEXPIRE', KEYS[2], life + 60000)
return 1
`

/**
 * KEYS: the log. ARGV: message, channel. Writes to the log, and wakes those who read it. The log lives twice as long as a client
 * may be away.
 */
const publish = `
redis.call('XADD', KEYS[1], 'MAXLEN', '~', 1000, '*', 'message', ARGV[1])
redis.call('PEXPIRE', KEYS[1], 60000)
redis.call('PUBLISH', ARGV[2], '')
return 1
`

/**
 * KEYS: the log. ARGV: last id that was read. Reply: [now in ms, last id, [[id, message], …]]. A log that was emptied begins
 * anew.
 */
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

/** KEYS: a count. Reply: how often it was counted in its minute, this time included. */
const count = `
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], 60000) end
return count
`

/** KEYS: loads. ARGV: node, load as JSON, ms for which it counts. Reply: the loads that count. */
const report = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + ARGV[3]) .. ' ' .. ARGV[2])
local loads, all = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local till, load = string.match(all[i + 1], '^(%d+) (.*)$')
  if till and tonumber(till) > now then loads[#loads + 1] = load else redis.call('HDEL', KEYS[1], all[i]) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3] + 60000)
return loads
`

/** KEYS: loads. Reply: of each that counts, as JSON, the load as it was reported, and for how many ms it still counts. */
const loads = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local loads, all = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local till, load = string.match(all[i + 1], '^(%d+) (.*)$')
  if till and tonumber(till) > now then loads[#loads + 1] = cjson.encode({ load = load, left = tonumber(till) - now }) end
end
return loads
`

/**
 * KEYS: history. ARGV: a secret, for the first to ask; random. Reply: the secret, the id of the history, its age in ms,
 * 1 if it began with nothing.
 *
 * A server that was restarted, or was a replica before, has another run id: it may lack what the last one was told at the end.
 * Where INFO is not allowed, only the loss of all data is noticed.
 */
const history = `
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'secret', 'run', 'id', 'since', 'fresh')
if known[1] and known[2] == run then return { known[1], known[3], tostring(math.max(0, now - known[4])), known[5] } end
local secret, fresh = known[1] or ARGV[1], known[1] and '0' or '1'
redis.call('HSET', KEYS[1], 'secret', secret, 'run', run, 'id', ARGV[2], 'since', now, 'fresh', fresh)
return { secret, ARGV[2], '0', fresh }
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
  recover: defineScript('recover', recover),
  touch: defineScript('touch', touch),
  update: defineScript('update', update),
  remove: defineScript('remove', remove),
  store: defineScript('store', store),
  trim: defineScript('trim', trim),
  events: defineScript('events', events),
  size: defineScript('size', size),
  announce: defineScript('announce', announce),
  renew: defineScript('renew', renew),
  withdraw: defineScript('withdraw', withdraw),
  peer: defineScript('peer', peer),
  send: defineScript('send', send),
  count: defineScript('count', count),
  publish: defineScript('publish', publish),
  published: defineScript('published', published),
  report: defineScript('report', report),
  loads: defineScript('loads', loads),
  history: defineScript('history', history)
}

export type ScriptName = keyof typeof scripts

function defineScript (name: string, lua: string): Script {
  return { command: `mcpSessions_${name}_${createHash('sha256').update(lua).digest('hex').slice(0, 8)}`, lua }
}
