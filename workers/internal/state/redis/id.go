package redis

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// An id is the moment at which a message came and some chance; behind them it says whose outbox the message is in, so that it is
// found with one look. Ids of before do not.
var (
	idForm    = regexp.MustCompile(`^[0-9a-f]{14}[A-Z2-7]{8}([a-z2-7]{26})?$`)
	lettering = base32.StdEncoding.WithPadding(base32.NoPadding)
)

// oldID is the length of an id that does not say where its message is.
const oldID = 14 + 8

// newID sorts by time, so that of two messages that are due at the same moment the older one goes first.
func newID(mailbox string) string {
	whose, _ := hex.DecodeString(tag(mailbox)) // a tag is hexadecimal
	return fmt.Sprintf("%014x%s%s", time.Now().UnixMicro(), rand.Text()[:8], strings.ToLower(lettering.EncodeToString(whose)))
}

func validID(id string) bool { return idForm.MatchString(id) }

// boxIn is the outbox that an id names; false: it names none.
func boxIn(id string) (box, bool) {
	if !validID(id) || len(id) == oldID {
		return "", false
	}
	whose, err := lettering.DecodeString(strings.ToUpper(id[oldID:]))
	if err != nil {
		return "", false
	}
	return box(hex.EncodeToString(whose)), true
}
