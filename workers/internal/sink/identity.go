// Package sink holds what the sinks have in common: the name under which a message is delivered once.
package sink

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"

	"mailporter/workers/internal/mail"
)

// ID names a delivery: the same for every Put of one folder and Item.Key, another for every other. 40 hexadecimal digits,
// because keys are long and may hold anything.
func ID(f mail.Folder, key string) string {
	h := sha256.New()
	for _, part := range []string{f.Mailbox, f.Name, key} {
		_, _ = io.WriteString(h, strconv.Itoa(len(part))+":"+part)
	}
	return hex.EncodeToString(h.Sum(nil)[:20])
}
