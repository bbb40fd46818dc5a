package imap

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A message's key is the fingerprint of what outlives a new UIDVALIDITY, and an ordinal among its equals:
//
//	sha256(Message-ID, INTERNALDATE in seconds, RFC822.SIZE)[:16] "-" ordinal
//
// Without a Message-ID the whole header stands in for it. Equal messages are counted in the order of their UIDs, so that two
// identical messages are two items. The cursor carries the newest fingerprints with their counts, so that the next page
// goes on counting.
//
// Equals agree in the second of their arrival, so they are at most as far apart as mail that arrives within a second: the
// cursor remembers every fingerprint of the last minute of arrivals, and at least the newest recentLeast.
//
// What remains: equals with more than recentMost messages of one minute between them get the same key, and so do the rest
// of a group of equals when the cursor is lost after some of the group were moved away. A sink that sees other bytes under
// a key that it knows keeps both.

// fingerprint is 16 bytes in hexadecimal.
type fingerprint string

func fingerprintOf(identity []byte, arrived time.Time, size int64) fingerprint {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d %d ", arrived.Unix(), size)
	_, _ = h.Write(identity)
	return fingerprint(hex.EncodeToString(h.Sum(nil)[:16]))
}

// identity is the Message-ID out of the header, or the header itself.
func identity(header []byte) []byte {
	unfolded := strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(string(header))
	for line := range strings.SplitSeq(unfolded, "\r\n") {
		if value, ok := cutPrefixFold(line, "Message-ID:"); ok && strings.TrimSpace(value) != "" {
			return []byte(strings.TrimSpace(value))
		}
	}
	return header
}

// hasMessageID says whether identity found one.
func hasMessageID(header []byte) bool { return len(identity(header)) != len(header) }

// seen is how often a fingerprint came so far.
type seen struct {
	Fingerprint fingerprint `json:"f"`
	Count       int         `json:"n"`
	Second      int64       `json:"t"` // of the arrival, Unix time
}

// recent are the newest fingerprints, the newest last.
type recent []seen

// The bounds of recent. A cursor of recentMost takes some 250 kB, and only while that many messages a minute arrive.
const (
	recentLeast  = 64
	recentMost   = 4096
	recentMemory = 60 // seconds
)

// count takes note of one more message and returns its ordinal: 0 for the first.
func (r *recent) count(f fingerprint, arrived time.Time) (ordinal int) {
	s := seen{Fingerprint: f, Second: arrived.Unix()}
	if i := slices.IndexFunc(*r, func(s seen) bool { return s.Fingerprint == f }); i >= 0 {
		s = (*r)[i]
		*r = slices.Delete(*r, i, i+1)
	}
	ordinal = s.Count
	s.Count++
	*r = append(*r, s)
	r.forget()
	return ordinal
}

// forget drops what no later message can equal any more.
func (r *recent) forget() {
	if len(*r) <= recentLeast {
		return
	}
	newest := slices.MaxFunc(*r, func(a, b seen) int { return cmp.Compare(a.Second, b.Second) }).Second
	kept := (*r)[:0]
	for i, s := range *r {
		left := len(*r) - i
		if left <= recentLeast || left <= recentMost && s.Second >= newest-recentMemory {
			kept = append(kept, s)
		}
	}
	*r = kept
}

func key(f fingerprint, ordinal int) string { return fmt.Sprintf("%s-%d", f, ordinal) }
