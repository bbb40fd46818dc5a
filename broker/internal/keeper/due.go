package keeper

import (
	"time"

	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// Due is when a person must act at the latest, and what ends then.
type Due struct {
	At   time.Time // zero: nothing is known
	What string    // what ends, and what a person must do
}

// sooner is the earlier of two; one that is zero is no date.
func (d Due) sooner(other Due) Due {
	if d.At.IsZero() || !other.At.IsZero() && other.At.Before(d.At) {
		return other
	}
	return d
}

// How long a refresh token lives without use: Entra's documentation says 90 days, Google's six months. One that was used
// within unused needs nobody: KeepAlive sees to it.
var idleLimits = map[token.Provider]time.Duration{token.Microsoft: 90 * 24 * time.Hour, token.Google: 180 * 24 * time.Hour}

const unused = 48 * time.Hour

// Due tells what this process knows, without asking the store. What is frozen is due since then.
func (k *Keeper) Due(c *token.Credential) Due {
	a := k.account(c)
	r, _ := a.record(0)
	if r.Version == a.version && r.Frozen != nil {
		return Due{r.Since, "frozen: " + r.Frozen.Reason}
	}
	return a.due(c, r, time.Now())
}

// due is when the first thing ends without which there will be no token: what a person must do by then is in the remedy of
// the failure that would follow. What the provider refused already does no good any more, and its end is no date to wait for.
func (a *account) due(c *token.Credential, r Record, now time.Time) (d Due) {
	a.mu.Lock()
	for _, cert := range c.Certificates {
		if !a.refused[cert.Fingerprint()] {
			d = d.sooner(Due{cert.NotAfter(), "the certificate of " + c.Label + " ends: " + another})
		}
	}
	for _, end := range c.Ends {
		if end.Proof == (secret.Fingerprint{}) || !a.refused[end.Proof] {
			d = d.sooner(Due{end.At, ending(c, end)})
		}
	}
	a.mu.Unlock()
	if limit := idleLimits[c.Provider]; c.Rotates() && !r.Minted.IsZero() && now.Sub(r.Minted) > unused {
		d = d.sooner(Due{r.Minted.Add(limit), "the refresh token of " + c.User + " dies of idleness: find out why it is not used, or " + signIn})
	}
	return d
}

const (
	another = "an administrator makes another one at the application, and the broker gets it as one more of the list"
	signIn  = "the mailbox's user signs in again"
)

func ending(c *token.Credential, end token.End) string {
	switch {
	case end.Proof != (secret.Fingerprint{}):
		return "the " + end.What + " of " + c.Label + " ends: " + another
	case c.Grant == token.Password:
		return "the password of " + c.User + " ends: whoever owns it sets another one, and the broker gets it"
	}
	return "the refresh token of " + c.User + " ends: " + signIn
}
