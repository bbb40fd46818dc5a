package simulation

import (
	"fmt"
	"slices"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// rotation is how a provider treats refresh tokens.
type rotation string

const (
	entra  rotation = "entra"  // every answer brings a new one, and the old ones go on working
	google rotation = "google" // there is one, for ever
	strict rotation = "strict" // the old one works until the new one was used
)

// marker is in every secret of the simulation; it must not be in anything that gets printed.
const marker = "hush"

// truth is what the provider knows about a credential; the provider's lock guards it.
type truth struct {
	id       string
	grant    token.Kind
	rotation rotation
	secrets  []string          // client secrets or passwords that work
	alive    map[string]bool   // refresh tokens that work
	parent   map[string]string // of a refresh token: the one it came for
	made     int               // secrets so far
}

func newTruth(id string, g token.Kind, r rotation) *truth {
	return &truth{id: id, grant: g, rotation: r, alive: map[string]bool{}, parent: map[string]string{}}
}

// mark is a new secret.
func (t *truth) mark() string {
	t.made++
	return fmt.Sprintf("%s-%s-%d", marker, t.id, t.made)
}

// renew makes the secret of a new configuration: what a person would enter.
func (t *truth) renew() string {
	s := t.mark()
	if t.grant == token.RefreshToken {
		t.alive[s] = true
	} else {
		t.secrets = append(t.secrets, s)
	}
	return s
}

// revoke ends everything: a person signed out everywhere, changed the password, or deleted the client secret.
func (t *truth) revoke() {
	t.secrets = nil
	clear(t.alive)
}

// judge is whether a request is refused, and why.
func (t *truth) judge(c token.Credential, refresh string) *remedy.Fault {
	switch t.grant {
	case token.RefreshToken:
		if !t.alive[refresh] {
			return refusal(remedy.NeedsUser, remedy.ReauthorizationRequired, "invalid_grant")
		}
	case token.Password:
		if !slices.Contains(t.secrets, c.Password.Reveal()) {
			return refusal(remedy.NeedsUser, "PASSWORD_REJECTED", "invalid_grant")
		}
	default:
		if !slices.Contains(t.secrets, c.Secrets[0].Reveal()) {
			return refusal(remedy.WrongConfig, remedy.ClientSecretInvalid, "invalid_client")
		}
	}
	return nil
}

func refusal(c remedy.Class, reason, word string) *remedy.Fault {
	return &remedy.Fault{Class: c, Reason: reason, Status: 400, OAuth: word, Remedy: "Somebody must act."}
}

// rotate uses a refresh token and makes the next; stillborn is one that the provider itself forgot at once.
func (t *truth) rotate(used string, stillborn bool) secret.String {
	if t.grant != token.RefreshToken || t.rotation == google {
		return secret.String{}
	}
	if t.rotation == strict {
		t.retire(used)
	}
	next := t.mark()
	t.parent[next] = used
	t.alive[next] = !stillborn
	return secret.New(next)
}

// retire ends what a used refresh token replaced: the one it came for, and that one's other children.
func (t *truth) retire(used string) {
	old, ok := t.parent[used]
	if !ok {
		return
	}
	delete(t.alive, old)
	for child, p := range t.parent {
		if p == old && child != used {
			delete(t.alive, child)
		}
	}
}
