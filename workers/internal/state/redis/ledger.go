package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/outbound"
)

// book counts a message against all limits, or none: outbound.Room in the script's words. Times are microseconds by
// Redis's clock, so that the clocks of pods do not matter.
// KEYS: closed, then a hash for each limit: part of the window -> sum. ARGV: for each limit most, window, cost, and what to
// say when it is used up. Answers {microseconds to wait, why, when it was booked}.
var book = redis.NewScript(fmt.Sprintf(`
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local wait, why = 0, ''
local closed = redis.call('HMGET', KEYS[1], 'until', 'why')
if closed[1] and tonumber(closed[1]) > now then wait, why = tonumber(closed[1]) - now, closed[2] end

local limits = {}
for i = 2, #KEYS do
  local window = tonumber(ARGV[4 * i - 6])
  limits[i] = {most = tonumber(ARGV[4 * i - 7]), window = window, cost = tonumber(ARGV[4 * i - 5]), used = ARGV[4 * i - 4],
    length = math.max(math.floor(window / %d), 1)}
end

for i, l in pairs(limits) do
  local total, slots, flat = 0, {}, redis.call('HGETALL', KEYS[i])
  for j = 1, #flat, 2 do
    local slot, amount = tonumber(flat[j]), tonumber(flat[j + 1])
    local ends = (slot + 1) * l.length + l.window
    if ends > now then
      total = total + amount
      slots[#slots + 1] = {ends = ends, amount = amount}
    else
      redis.call('HDEL', KEYS[i], flat[j])
    end
  end
  if total > 0 and total + l.cost > l.most then
    table.sort(slots, function(a, b) return a.ends < b.ends end)
    local at = 0
    for _, s in ipairs(slots) do
      total, at = total - s.amount, s.ends
      if total == 0 or total + l.cost <= l.most then break end
    end
    if at - now > wait then wait, why = at - now, l.used end
  end
end
if wait > 0 then return {string.format('%%.0f', wait), why, '0'} end

redis.call('HDEL', KEYS[1], '') -- even if Redis is full: see outbox.lua
for i, l in pairs(limits) do
  redis.call('HINCRBY', KEYS[i], string.format('%%.0f', math.floor(now / l.length)), string.format('%%.0f', l.cost))
  redis.call('PEXPIRE', KEYS[i], math.ceil((l.window + l.length) / 1000) + 1000)
end
return {'0', '', string.format('%%.0f', now)}`, outbound.Slots))

// unbook takes back what was booked, if it still counts. KEYS: a hash for each limit. ARGV: for each limit part of the window,
// cost.
var unbook = redis.NewScript(`
for i, key in ipairs(KEYS) do
  redis.call('HDEL', key, '') -- even if Redis is full: see outbox.lua
  local slot = ARGV[2 * i - 1]
  local amount = redis.call('HGET', key, slot)
  if amount then redis.call('HINCRBY', key, slot, string.format('%.0f', -math.min(tonumber(amount), tonumber(ARGV[2 * i])))) end
end
return 1`)

// closeBox notes the later end. KEYS: closed. ARGV: microseconds from now, why.
var closeBox = redis.NewScript(`
local clock = redis.call('TIME')
local ends = clock[1] * 1000000 + clock[2] + ARGV[1]
local before = redis.call('HGET', KEYS[1], 'until')
if before and tonumber(before) >= ends then return 0 end
redis.call('HDEL', KEYS[1], '') -- even if Redis is full: see outbox.lua
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', ends), 'why', ARGV[2])
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[1] / 1000) + 1000)
return 1`)

type ledger struct{ *Store }

func closedKey(mailbox string) string { return boxPrefix(mailbox) + "closed" }

func sentKey(mailbox string, l tokenclient.Limit) string {
	return boxPrefix(mailbox) + "sent:" + l.Unit.String() + ":" + strconv.FormatInt(l.Window.Microseconds(), 10)
}

// Book implements outbound.Ledger.
func (s ledger) Book(ctx context.Context, mailbox string, limits []tokenclient.Limit, c outbound.Cost) (outbound.Wait, error) {
	keys, args := []string{closedKey(mailbox)}, []any{}
	for _, l := range limits {
		keys = append(keys, sentKey(mailbox, l))
		args = append(args, l.Most, l.Window.Microseconds(), c.Of(l.Unit), outbound.UsedUp(l))
	}
	answer, err := book.Run(ctx, s.client, keys, args...).StringSlice()
	if err != nil {
		return outbound.Wait{}, fmt.Errorf("book a message: %w", err)
	}
	return readWait(answer)
}

// readWait reads {microseconds to wait, why, when it was booked}.
func readWait(answer []string) (outbound.Wait, error) {
	if len(answer) != 3 {
		return outbound.Wait{}, errAnswer
	}
	micros, err := strconv.ParseInt(answer[0], 10, 64)
	booked, bookedErr := strconv.ParseInt(answer[2], 10, 64)
	switch {
	case err != nil || bookedErr != nil:
		return outbound.Wait{}, errAnswer
	case micros == 0:
		return outbound.Wait{Booked: time.UnixMicro(booked)}, nil
	}
	return outbound.Wait{Until: time.Now().Add(time.Duration(micros) * time.Microsecond), Why: answer[1]}, nil
}

// Unbook implements outbound.Ledger.
func (s ledger) Unbook(ctx context.Context, mailbox string, limits []tokenclient.Limit, c outbound.Cost, booked time.Time) error {
	keys, args := []string{}, []any{}
	for _, l := range limits {
		keys = append(keys, sentKey(mailbox, l))
		args = append(args, outbound.SlotOf(l, booked), c.Of(l.Unit))
	}
	if err := unbook.Run(ctx, s.client, keys, args...).Err(); err != nil {
		return fmt.Errorf("give a booking back: %w", err)
	}
	return nil
}

// Close implements outbound.Ledger.
func (s ledger) Close(ctx context.Context, mailbox string, until time.Time, why string) error {
	left := time.Until(until).Microseconds()
	if left <= 0 {
		return nil
	}
	if err := closeBox.Run(ctx, s.client, []string{closedKey(mailbox)}, left, why).Err(); err != nil {
		return fmt.Errorf("close a mailbox: %w", err)
	}
	return nil
}

// Usage implements outbound.Ledger.
func (s ledger) Usage(ctx context.Context, mailbox string, limits []tokenclient.Limit) (outbound.Usage, error) {
	pipe := s.client.Pipeline()
	clock, closed := pipe.Time(ctx), pipe.HMGet(ctx, closedKey(mailbox), "until", "why")
	sent := make([]*redis.MapStringStringCmd, len(limits))
	for i, l := range limits {
		sent[i] = pipe.HGetAll(ctx, sentKey(mailbox, l))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return outbound.Usage{}, fmt.Errorf("read what was sent: %w", err)
	}
	u := outbound.Usage{Now: clock.Val(), Closed: readClosed(closed.Val(), clock.Val()), Sent: make([]map[int64]int64, len(limits))}
	var err error
	for i := range limits {
		if u.Sent[i], err = readSent(sent[i].Val()); err != nil {
			return outbound.Usage{}, fmt.Errorf("read what was sent: %w", err)
		}
	}
	return u, nil
}

// readClosed reads until and why; the zero value if the mailbox is open.
func readClosed(fields []any, now time.Time) outbound.Wait {
	if len(fields) != 2 {
		return outbound.Wait{}
	}
	text, _ := fields[0].(string)
	until, err := strconv.ParseInt(text, 10, 64)
	if err != nil || !time.UnixMicro(until).After(now) {
		return outbound.Wait{}
	}
	why, _ := fields[1].(string)
	return outbound.Wait{Until: time.UnixMicro(until), Why: why}
}

func readSent(fields map[string]string) (map[int64]int64, error) {
	sent := make(map[int64]int64, len(fields))
	for slot, amount := range fields {
		s, err := strconv.ParseInt(slot, 10, 64)
		n, amountErr := strconv.ParseInt(amount, 10, 64)
		if err != nil || amountErr != nil {
			return nil, errAnswer
		}
		sent[s] = n
	}
	return sent, nil
}
