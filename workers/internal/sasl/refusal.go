package sasl

import (
	"encoding/json"
	"strings"

	"mailporter/kit/secret"
)

// Refusal is a server's reason for refusing a token, as it stands in the challenge of XOAUTH2 and OAUTHBEARER.
type Refusal struct {
	Status string // "400" or "401" at Google, "invalid_token" after RFC 7628
	Scope  string // which scope the token should have had
	Text   string // the challenge itself if it was no JSON; at most 256 bytes
}

// maxText bounds what is kept of one field, in bytes.
const maxText = 256

// String is for errors: status 401, scope https://mail.google.com/. Empty for the zero Refusal.
func (r Refusal) String() string {
	var parts []string
	if r.Status != "" {
		parts = append(parts, "status "+r.Status)
	}
	if r.Scope != "" {
		parts = append(parts, "scope "+r.Scope)
	}
	if r.Text != "" {
		parts = append(parts, r.Text)
	}
	return strings.Join(parts, ", ")
}

// readRefusal reads a challenge, decoded from base64. hide is cut out, should a server echo it.
func readRefusal(challenge []byte, hide secret.String) Refusal {
	var fields struct {
		Status any    `json:"status"` // a string, but some servers send a number
		Scope  string `json:"scope"`
	}
	if json.Unmarshal(challenge, &fields) != nil {
		return Refusal{Text: clean(string(challenge), hide)}
	}
	r := Refusal{Scope: clean(fields.Scope, hide)}
	switch s := fields.Status.(type) {
	case string:
		r.Status = clean(s, hide)
	case float64:
		b, _ := json.Marshal(s) // a number from JSON is one again
		r.Status = string(b)
	}
	return r
}

// clean makes one short printable line of s.
func clean(s string, hide secret.String) string {
	if !hide.Empty() {
		s = strings.ReplaceAll(s, hide.Reveal(), "[secret]")
	}
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?")))
}
