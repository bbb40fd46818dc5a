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

// takeLease answers {value of the lease, record or false}, or {false} while somebody holds it. A lease whose answer was
// lost lapses unused. The value is the fencing number and something that nobody else has: a failover may forget the last
// number, and two leases of one number would be one lease.
// KEYS: lease, fence, record. ARGV: ttl in milliseconds, something unique.
var takeLease = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return {false} end
local value = redis.call('INCR', KEYS[2]) .. ':' .. ARGV[2]
redis.call('SET', KEYS[1], value, 'PX', ARGV[1])
return {value, redis.call('GET', KEYS[3])}`)

// saveRecord writes the record if the lease is still the caller's. Doing it twice is doing it once.
// KEYS: lease, record. ARGV: value of the lease, sealed record.
var saveRecord = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return 1`)

// releaseLease gives up the lease if it is still the caller's and wakes who waits for it.
// KEYS: lease. ARGV: value of the lease, channel, credential.
var releaseLease = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1`)

// shelve puts the record aside, over one that was put aside before. Doing it twice is doing it once.
// KEYS: record, unreadable.
var shelve = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('RENAME', KEYS[1], KEYS[2]) end
return 1`)
