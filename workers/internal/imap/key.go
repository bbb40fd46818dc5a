package imap

import (
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
// What remains: equals more than recentSize different messages apart get the same key, and so do the rest of a group
// of equals when the cursor is lost after some of the group were moved away: the sink then keeps one copy. Such messages
// agree in Message-ID, second of arrival and size.

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
}

// recent are the newest fingerprints, the newest last.
type recent []seen

// recentSize bounds recent.
const recentSize = 64

// count takes note of one more message and returns its ordinal: 0 for the first.
func (r *recent) count(f fingerprint) (ordinal int) {
	s := seen{Fingerprint: f}
	if i := slices.IndexFunc(*r, func(s seen) bool { return s.Fingerprint == f }); i >= 0 {
		s = (*r)[i]
		*r = slices.Delete(*r, i, i+1)
	}
	ordinal = s.Count
	s.Count++
	*r = append(*r, s)
	if len(*r) > recentSize {
		*r = slices.Clone((*r)[len(*r)-recentSize:])
	}
	return ordinal
}

func key(f fingerprint, ordinal int) string { return fmt.Sprintf("%s-%d", f, ordinal) }
