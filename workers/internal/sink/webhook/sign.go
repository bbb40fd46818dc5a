package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
)

// signer is the key that signs; empty = unsigned.
type signer []byte

// seal is what the headers say about the bytes of one message.
type seal struct {
	id        string
	timestamp string // Unix seconds
	signature string // empty = unsigned
	digest    string // SHA-256 in base64
}

// seal reads the message once: signature and digest stand in the header, before it.
func (k signer) seal(ctx context.Context, id string, now time.Time, b mail.Body) (seal, error) {
	if err := ctx.Err(); err != nil {
		return seal{}, err
	}
	s := seal{id: id, timestamp: strconv.FormatInt(now.Unix(), 10)}
	digest, mac := sha256.New(), hmac.New(sha256.New, k)
	_, _ = io.WriteString(mac, s.id+"."+s.timestamp+".")
	r, err := b.Open()
	if err != nil {
		return seal{}, fmt.Errorf("open the message: %w", err)
	}
	defer r.Close()
	n, err := io.Copy(io.MultiWriter(digest, mac), r)
	if err != nil {
		return seal{}, fmt.Errorf("read the message: %w", err)
	}
	if n != b.Size() {
		return seal{}, fmt.Errorf("the message ended after %d of %d bytes", n, b.Size())
	}
	s.digest = base64.StdEncoding.EncodeToString(digest.Sum(nil))
	if len(k) > 0 {
		s.signature = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return s, nil
}

func (s *Sink) headers(h http.Header, f mail.Folder, it inbound.Item, seal seal) {
	h.Set("Content-Type", "message/rfc822")
	h.Set("Content-Digest", "sha-256=:"+seal.digest+":")
	h.Set("User-Agent", "mailporter")
	h.Set("Idempotency-Key", `"`+seal.id+`"`) // a quoted string, as the IETF draft of the header has it
	h.Set("Webhook-Id", seal.id)
	h.Set("Webhook-Timestamp", seal.timestamp)
	if seal.signature != "" {
		h.Set("Webhook-Signature", seal.signature)
	}
	if !s.config.Authorization.Empty() {
		h.Set("Authorization", s.config.Authorization.Reveal())
	}
	// Names of folders may hold any character, headers only ASCII: RFC 2047, as in mail.
	h.Set("Mailporter-Mailbox", mime.QEncoding.Encode("utf-8", f.Mailbox))
	h.Set("Mailporter-Folder", mime.QEncoding.Encode("utf-8", f.Name))
	if !it.Arrived.IsZero() {
		h.Set("Mailporter-Received", it.Arrived.UTC().Format(time.RFC3339))
	}
}
