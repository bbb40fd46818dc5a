package redis

import "github.com/redis/go-redis/v9"

// putToken writes a token unless one of an equal or higher generation is there. Doing it twice is doing it once.
// KEYS: token. ARGV: generation, sealed token, expiry in Unix milliseconds.
var putToken = redis.NewScript(`
local have = tonumber(redis.call('HGET', KEYS[1], 'g') or '-1')
if have >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'g', ARGV[1], 'v', ARGV[2])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
return 1`)

// takeLease answers {fencing number, record or false}, or {0} while somebody holds it. A lease whose answer was lost
// lapses unused.
// KEYS: lease, fence, record. ARGV: ttl in milliseconds.
var takeLease = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return {0} end
local fence = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], fence, 'PX', ARGV[1])
return {fence, redis.call('GET', KEYS[3])}`)

// saveRecord writes the record if the lease is still the caller's. Doing it twice is doing it once.
// KEYS: lease, record. ARGV: fencing number, sealed record.
var saveRecord = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return 1`)

// releaseLease gives up the lease if it is still the caller's and wakes who waits for it.
// KEYS: lease. ARGV: fencing number, channel, credential.
var releaseLease = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1`)
