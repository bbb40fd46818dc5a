package redis

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
)

// note adds an entry, or changes the mark of one that is there: the two kinds of mark have a hash of their own.
// KEYS: items, since, moved. ARGV: member, entry, since in microseconds, moved (1 or 0).
var note = redis.NewScript(`
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1]) end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
return 1`)

const quarantined = prefix + "quarantined"

type quarantine struct{ *Store }

func quarantineKey(mailbox, what string) string { return prefix + "{q:" + tag(mailbox) + "}:" + what }

// tag makes a name safe inside a hash tag: a closing brace would end it.
func tag(mailbox string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(mailbox)))[:32] }

// member names a message in its mailbox's quarantine.
func member(f mail.Folder, key string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(f.Name+"\x00"+key)))
}

// Note implements inbound.Quarantine.
func (s quarantine) Note(ctx context.Context, q inbound.Quarantined) error {
	b, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("note quarantined message of %s: %w", q.Folder, err)
	}
	if err := s.client.SAdd(ctx, quarantined, q.Folder.Mailbox).Err(); err != nil {
		return fmt.Errorf("note quarantined message of %s: %w", q.Folder, err)
	}
	m := q.Folder.Mailbox
	keys := []string{quarantineKey(m, "items"), quarantineKey(m, "since"), quarantineKey(m, "moved")}
	if err := note.Run(ctx, s.client, keys, member(q.Folder, q.Item.Key), b, q.Since.UnixMicro(), q.Moved).Err(); err != nil {
		return fmt.Errorf("note quarantined message of %s: %w", q.Folder, err)
	}
	return nil
}

// Has implements inbound.Quarantine.
func (s quarantine) Has(ctx context.Context, f mail.Folder, key string) (bool, error) {
	has, err := s.client.HExists(ctx, quarantineKey(f.Mailbox, "items"), member(f, key)).Result()
	if err != nil {
		return false, fmt.Errorf("read quarantine of %s: %w", f, err)
	}
	return has, nil
}

// List implements inbound.Quarantine.
func (s quarantine) List(ctx context.Context, mailbox string, most int) ([]inbound.Quarantined, error) {
	mailboxes := []string{mailbox}
	if mailbox == "" {
		var err error
		if mailboxes, err = s.client.SMembers(ctx, quarantined).Result(); err != nil {
			return nil, fmt.Errorf("read quarantine: %w", err)
		}
	}
	var all []inbound.Quarantined
	for _, m := range mailboxes {
		some, err := s.of(ctx, m, most)
		if err != nil {
			return nil, fmt.Errorf("read quarantine of %s: %w", m, err)
		}
		all = append(all, some...)
	}
	slices.SortStableFunc(all, func(a, b inbound.Quarantined) int { return a.Since.Compare(b.Since) })
	return all[:min(most, len(all))], nil
}

// of lists one mailbox's, the oldest first.
func (s quarantine) of(ctx context.Context, mailbox string, most int) ([]inbound.Quarantined, error) {
	members, err := s.client.ZRange(ctx, quarantineKey(mailbox, "since"), 0, int64(most)-1).Result()
	if err != nil || len(members) == 0 {
		return nil, err
	}
	items, err := s.client.HMGet(ctx, quarantineKey(mailbox, "items"), members...).Result()
	if err != nil {
		return nil, err
	}
	moved, err := s.client.HMGet(ctx, quarantineKey(mailbox, "moved"), members...).Result()
	if err != nil {
		return nil, err
	}
	all := make([]inbound.Quarantined, len(items))
	for i := range items {
		text, _ := items[i].(string)
		if err := json.Unmarshal([]byte(text), &all[i]); err != nil {
			return nil, err
		}
		all[i].Moved = moved[i] == "1"
	}
	return all, nil
}

// moment reads Unix microseconds; 0 is the zero time.
func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
