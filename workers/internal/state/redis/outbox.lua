-- One mailbox's outbox. A job is the hash job:ID with
--   mailbox, envelope (JSON), size, chunks, accepted, attempts, doubt, claim ('' = none), next ('' = none planned), draft,
--   request (1 if it has one), recipients: JSON list of {a = address, s = state, r = reason, c = changed}
-- States are those of outbound.State. Times are microseconds; they travel as strings, because JSON numbers would lose digits.

-- all orders what is not sent by when it was first taken; that never changes, so a list can be taken page by page.
-- waiting orders those that will be tried by when they were accepted. Workers of before do not keep it: what should not be in
-- it is removed when it is met, and what is missing will be sent one day.

local due, claimed, all, prefix = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local waiting = prefix .. 'waiting'
local QUEUED, SENDING, SENT, DEFERRED, UNKNOWN, DEAD = 0, 1, 2, 3, 4, 5

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function micros(n) return string.format('%.0f', n) end
local function job(id) return prefix .. 'job:' .. id end

-- A Redis that is full refuses the first write of a script if that may need room, and no later one. What helps a message on its way
-- out must not be refused, or a Redis full of mail would stay full: so it begins with a write that needs none.
local function even_if_full() redis.call('DEL', prefix .. 'nothing') end

-- nil of a job that Redis lost: it evicted it, or somebody's hand was in it.
local function recipients(id)
  local list = redis.call('HGET', job(id), 'recipients')
  return list and cjson.decode(list) or nil
end

-- What Redis lost cannot be sent; it must not hold up what is left of its mailbox.
local function forget(id)
  for _, key in ipairs({due, claimed, all, waiting}) do redis.call('ZREM', key, id) end
  redis.call('DEL', job(id), prefix .. 'body:' .. id)
end

local function keep(id, list) redis.call('HSET', job(id), 'recipients', cjson.encode(list)) end

-- A claim that nobody settled in time: the job is due since then, and somebody may have the message.
local function lapse()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', claimed, '-inf', micros(now))) do
    local at, list = redis.call('ZSCORE', claimed, id), recipients(id)
    if list then
      redis.call('ZREM', claimed, id)
      redis.call('ZADD', due, at, id)
      redis.call('HSET', job(id), 'claim', '', 'doubt', '1', 'next', micros(tonumber(at)))
      redis.call('HINCRBY', job(id), 'attempts', 1)
      for _, r in ipairs(list) do
        if r.s == SENDING then r.s, r.r, r.c = UNKNOWN, 'the worker that was sending it is gone', micros(now) end
      end
      keep(id, list)
    else
      forget(id)
    end
  end
end

-- ARGV: prefix, id, request ('' = none), seconds to remember it, envelope, size, chunks, mailbox, addresses (JSON list).
-- Answers the id of the message: an older one if the request is known, '' if the bytes are not all there: a Redis that was
-- restarted may have lost some, or they lapsed.
local function add()
  local id, request = ARGV[2], ARGV[3]
  if request ~= '' then
    local known = redis.call('GET', prefix .. 'request:' .. request)
    if known then
      -- A write, for the WAIT behind it: that of Redis 7.2 waits for this connection's writes alone, and the Add that came
      -- before may have ended because no replica had it.
      redis.call('EXPIRE', prefix .. 'request:' .. request, ARGV[4])
      return known
    end
  end
  if redis.call('HLEN', prefix .. 'body:' .. id) ~= tonumber(ARGV[7]) then return '' end
  if request ~= '' then
    redis.call('SET', prefix .. 'request:' .. request, id, 'EX', ARGV[4])
  end
  local list = {}
  for i, a in ipairs(cjson.decode(ARGV[9])) do list[i] = {a = a, s = QUEUED, r = '', c = micros(now)} end
  redis.call('HSET', job(id), 'mailbox', ARGV[8], 'envelope', ARGV[5], 'size', ARGV[6], 'chunks', ARGV[7],
    'accepted', micros(now), 'attempts', 0, 'doubt', '0', 'claim', '', 'next', micros(now), 'request', request ~= '' and '1' or '', 'recipients', cjson.encode(list))
  redis.call('PERSIST', prefix .. 'body:' .. id)
  redis.call('ZADD', due, micros(now), id)
  redis.call('ZADD', all, micros(now), id)
  redis.call('ZADD', waiting, micros(now), id)
  return id
end

-- Claims at most so many jobs, for ttl microseconds, under that name.
-- Answers a flat list of {id, fields of the hash, recipients} for each.
local function claim_due(limit, most, ttl, name)
  lapse()
  local free = math.min(tonumber(limit) - redis.call('ZCARD', claimed), tonumber(most))
  local taken = {}
  if free <= 0 then return taken end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', micros(now), 'LIMIT', 0, free)) do
    local list = recipients(id)
    if list then
      redis.call('ZREM', due, id)
      redis.call('ZADD', claimed, micros(now + tonumber(ttl)), id)
      taken[#taken + 1] = {id, redis.call('HMGET', job(id), 'mailbox', 'envelope', 'size', 'accepted', 'attempts', 'doubt', 'draft'), cjson.encode(list)}
      for _, r in ipairs(list) do
        if r.s ~= SENT and r.s ~= DEAD then r.s, r.c = SENDING, micros(now) end
      end
      keep(id, list)
      redis.call('HSET', job(id), 'claim', name)
    else
      forget(id)
    end
  end
  return taken
end

-- ARGV: prefix, limit, most, ttl in microseconds, name of the claim.
local function claim() return claim_due(ARGV[2], ARGV[3], ARGV[4], ARGV[5]) end

-- Whether the claim is alive and of that name.
local function held(id, name)
  local at = redis.call('ZSCORE', claimed, id)
  return at and tonumber(at) > now and redis.call('HGET', job(id), 'claim') == name
end

-- ARGV: prefix, id, name of the claim, ttl in microseconds. Answers 0 if the claim was lost.
local function extend()
  if not held(ARGV[2], ARGV[3]) then return 0 end
  even_if_full()
  redis.call('ZADD', claimed, micros(now + tonumber(ARGV[4])), ARGV[2])
  return 1
end

-- ARGV: prefix, id, name of the claim, draft. Answers 0 if the claim was lost.
local function drafted()
  if not held(ARGV[2], ARGV[3]) then return 0 end
  even_if_full()
  redis.call('HSET', job(ARGV[2]), 'draft', ARGV[4])
  return 1
end

-- What is left of a job that everybody has: how it stands, for a while, if its submitter may ask; of the envelope the sender.
local function leave(id, seconds)
  if redis.call('HGET', job(id), 'request') ~= '1' then
    redis.call('DEL', job(id))
    return
  end
  local from = cjson.decode(redis.call('HGET', job(id), 'envelope')).From
  redis.call('HDEL', job(id), 'chunks', 'doubt', 'draft')
  redis.call('HSET', job(id), 'envelope', cjson.encode({From = from}), 'claim', '', 'next', '')
  redis.call('EXPIRE', job(id), seconds)
end

-- ARGV: prefix, id, name of the claim, outcomes (JSON: address -> {s, r}), microseconds to the next attempt ('' = none,
-- 'as before' = where it was among what is due), doubt (1 or 0), attempts made, seconds to remember what was sent.
-- Answers 0 if the claim was lost.
local function settle()
  local id = ARGV[2]
  if not held(id, ARGV[3]) then return 0 end
  local outcomes, list, open = cjson.decode(ARGV[4]), recipients(id), false
  for _, r in ipairs(list) do
    local o = outcomes[r.a]
    if o and r.s ~= SENT and r.s ~= DEAD then r.s, r.r, r.c = o.s, o.r, micros(now) end
    if r.s ~= SENT then open = true end
  end
  redis.call('ZREM', claimed, id)
  redis.call('HINCRBY', job(id), 'attempts', ARGV[7])
  keep(id, list)
  if not open then
    redis.call('ZREM', all, id)
    redis.call('ZREM', waiting, id)
    redis.call('DEL', prefix .. 'body:' .. id)
    leave(id, ARGV[8])
    return 1
  end
  local next = ARGV[5]
  if next == 'as before' then next = redis.call('HGET', job(id), 'next')
  elseif next ~= '' then next = micros(now + tonumber(next)) end
  redis.call('HSET', job(id), 'claim', '', 'doubt', ARGV[6], 'next', next)
  if next ~= '' then redis.call('ZADD', due, next, id) else redis.call('ZREM', waiting, id) end
  return 1
end

-- ARGV: those of settle, limit, ttl in microseconds, name of the next claim. Answers 0 if the claim was lost, else as claim does.
local function settle_and_claim()
  if settle() == 0 then return 0 end
  return claim_due(ARGV[9], 1, ARGV[10], ARGV[11])
end

-- When the next attempt is due, of a waiting job or of one whose claim lapsed, and what time it is: {due, now}, or {} if
-- there is none.
local function next_due()
  local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
  local lapsed = redis.call('ZRANGEBYSCORE', claimed, '-inf', micros(now), 'WITHSCORES', 'LIMIT', 0, 1)[2]
  local at = tonumber(first or lapsed)
  if not at then return {} end
  if lapsed then at = math.min(at, tonumber(lapsed)) end
  return {micros(at), micros(now)}
end

-- When the oldest that waits was accepted, or nothing. At most so many strangers are met at a time.
local function oldest()
  for _ = 1, 1000 do
    local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
    if not first[1] then return nil end
    if redis.call('ZSCORE', due, first[1]) or redis.call('ZSCORE', claimed, first[1]) then return tonumber(first[2]) end
    redis.call('ZREM', waiting, first[1])
  end
end

-- What waits: {messages, when the oldest was accepted, messages looked into, their open recipients, their bytes}, or {} if
-- nothing does. Ten of the next and ten of the last stand for all.
local function backlog()
  local count = redis.call('ZCARD', due) + redis.call('ZCARD', claimed)
  if count == 0 then return {} end
  local first, looked, people, bytes = oldest(), 0, 0, 0
  for _, key in ipairs({due, claimed}) do
    local some = redis.call('ZRANGE', key, 0, 9)
    if redis.call('ZCARD', key) > 10 then
      for _, id in ipairs(redis.call('ZRANGE', key, -math.min(10, redis.call('ZCARD', key) - 10), -1)) do some[#some + 1] = id end
    end
    for _, id in ipairs(some) do
      local f = redis.call('HMGET', job(id), 'size', 'accepted')
      if f[2] then first = math.min(first or now, tonumber(f[2])) end
      looked, bytes = looked + 1, bytes + tonumber(f[1] or 0)
      for _, r in ipairs(recipients(id) or {}) do
        if r.s ~= SENT and r.s ~= DEAD then people = people + 1 end
      end
    end
  end
  return {micros(count), micros(first), micros(looked), micros(people), micros(bytes)}
end

-- Whether an id comes before another one of the same moment. Lua's < would go by the server's locale.
local function before(a, b)
  for i = 1, math.min(#a, #b) do
    if a:byte(i) ~= b:byte(i) then return a:byte(i) < b:byte(i) end
  end
  return #a < #b
end

-- ARGV: prefix, most, moment and id behind which to begin ('' = at the beginning).
-- Answers a flat list of ids and the moments at which they were taken: the first of those who come after, by moment and id.
local function places()
  local moment, most = ARGV[3], tonumber(ARGV[2])
  if moment == '' then moment = '-inf' end
  local same = moment == '-inf' and 0 or #redis.call('ZRANGEBYSCORE', all, moment, moment)
  local some = redis.call('ZRANGEBYSCORE', all, moment, '+inf', 'WITHSCORES', 'LIMIT', 0, most + same)
  local found = {}
  for i = 1, #some, 2 do
    local id, at = some[i], micros(some[i + 1])
    if (at ~= moment or before(ARGV[4], id)) and #found < 2 * most then
      found[#found + 1], found[#found + 2] = id, at
    end
  end
  return found
end

-- {id, fields of the hash, recipients, when it was taken}, or {} of a job that Redis lost.
local function status(id)
  if redis.call('HEXISTS', job(id), 'recipients') == 0 then return {} end
  local taken = redis.call('ZSCORE', all, id)
  return {id, redis.call('HMGET', job(id), 'mailbox', 'envelope', 'size', 'accepted', 'attempts', 'next', 'claim'),
    redis.call('HGET', job(id), 'recipients'), taken and micros(taken) or ''}
end

-- ARGV: prefix, ids. Answers {id, fields} of those that are still there.
local function list()
  local found = {}
  for i = 2, #ARGV do
    local s = redis.call('ZSCORE', all, ARGV[i]) and status(ARGV[i]) or {}
    if s[1] then found[#found + 1] = s end
  end
  return found
end

-- ARGV: prefix, id. Answers {id, fields}, or {} if there is no such message.
local function get()
  if not redis.call('ZSCORE', all, ARGV[2]) then return {} end
  return status(ARGV[2])
end

-- ARGV: prefix, id. Answers {id, fields} of a message that everybody has, or {} if none is remembered.
local function sent()
  if redis.call('ZSCORE', all, ARGV[2]) or redis.call('EXISTS', job(ARGV[2])) == 0 then return {} end
  return status(ARGV[2])
end

-- Whether nobody is sending the message: 'ok', 'none' or 'claimed'.
local function idle(id)
  lapse()
  if not redis.call('ZSCORE', all, id) or not recipients(id) then return 'none' end
  return redis.call('ZSCORE', claimed, id) and 'claimed' or 'ok'
end

-- ARGV: prefix, id. Answers as idle does.
local function retry()
  local id = ARGV[2]
  local answer = idle(id)
  if answer ~= 'ok' then return answer end
  even_if_full()
  local list = recipients(id)
  for _, r in ipairs(list) do
    if r.s ~= SENT then r.s, r.r, r.c = QUEUED, '', micros(now) end
  end
  keep(id, list)
  redis.call('HSET', job(id), 'accepted', micros(now), 'next', micros(now), 'attempts', 0, 'doubt', '0')
  redis.call('ZADD', due, micros(now), id)
  redis.call('ZADD', waiting, micros(now), id)
  return answer
end

-- ARGV: prefix, id. Answers as idle does.
local function drop()
  local id = ARGV[2]
  local answer = idle(id)
  if answer ~= 'ok' then return answer end
  redis.call('ZREM', due, id)
  redis.call('ZREM', all, id)
  redis.call('ZREM', waiting, id)
  redis.call('DEL', job(id), prefix .. 'body:' .. id)
  return answer
end
