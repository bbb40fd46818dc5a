package keeper

import (
	"context"
	"errors"
	"slices"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// mint asks the provider and writes down what came of it. lease is nil while the store is away. A rotated refresh token
// is saved before the access token is handed out.
func (k *Keeper) mint(ctx context.Context, lease Lease, r Record, s *slot, w Wish, need want) (*held, error) {
	if need.forced {
		if pause := r.force(time.Now()); pause > 0 {
			return nil, remedy.FreshRefused(pause)
		}
	}
	r, err := k.saveUnsaved(ctx, lease, r, s.account)
	if err != nil {
		return nil, err
	}
	m, used, err := k.tryAll(ctx, r, s.account, w)
	if k.root.Err() != nil && err != nil {
		return nil, err // the broker ends: that says nothing about the credential
	}
	if err != nil {
		f := asFault(err).Following(r.of(s.key.Version).Last)
		if w.Credential.Provider == token.Google && !r.First.IsZero() {
			f = f.AfterTesting(time.Since(r.First))
		}
		k.saveFailure(ctx, lease, r.failed(s.key.Version, w.Audience, f, time.Now(), k.Chance), s.account, w)
		return nil, f
	}
	stored := r
	r = r.succeeded(s.key.Version, w.Audience, time.Now())
	if w.Credential.Rotates() {
		r.rotate(used, m.Refresh, time.Now())
	}
	if err := k.saveSuccess(ctx, lease, stored, r, s.account, w); err != nil {
		return nil, err
	}
	return k.publish(ctx, s, m.Token, need)
}

// publish numbers a new token and shows it to the fleet.
func (k *Keeper) publish(ctx context.Context, s *slot, t token.Token, need want) (*held, error) {
	s.mints.Add(1)
	old := s.held.Load()
	if need.forced && old != nil && old.token.Value.Equal(t.Value) {
		return nil, remedy.FreshRefused(forcedWindow) // the provider gives the same again: nothing is won by asking
	}
	t.Generation = max(t.Sent.UnixMilli(), need.newer+1)
	if old != nil {
		t.Generation = max(t.Generation, old.token.Generation+1)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	if err := k.Cache.Put(ctx, s.key, t); err != nil {
		k.Log.Warn("token cache does not take a token", "error", err)
	}
	return s.offer(t, FromProvider), nil
}

// tryAll tries the refresh tokens that may be good, newest first, and tells which one was. Grants without one have one
// try.
func (k *Keeper) tryAll(ctx context.Context, r Record, a *account, w Wish) (Minted, secret.String, error) {
	tried := candidates(r, w.Credential)
	var m Minted
	var err error
	for _, refresh := range tried {
		if m, err = k.tryWays(ctx, a, w, refresh); !grantRefused(err) {
			return m, refresh, err
		}
	}
	// The refusal counts only if what was refused is still what is stored: another broker may have been faster.
	if latest, loadErr := k.load(ctx, a); loadErr == nil && w.Credential.Rotates() && !latest.Refresh.Empty() && !has(tried, latest.Refresh) {
		m, err = k.tryWays(ctx, a, w, latest.Refresh)
		return m, latest.Refresh, err
	}
	return m, secret.String{}, err
}

// candidates are the refresh tokens worth a try, in order, each once. After a change of the configuration the configured
// one comes first, for that may be the change; if it was the client secret, the stored ones still work. Later it comes last:
// the first tries after the change may have failed for another reason, and nobody has used it yet.
func candidates(r Record, c *token.Credential) []secret.String {
	if !c.Rotates() {
		return []secret.String{{}}
	}
	order := []secret.String{r.Refresh, r.Previous, c.Refresh}
	if r.Version != c.Version {
		order = []secret.String{c.Refresh, r.Refresh, r.Previous}
	}
	var out []secret.String
	for _, s := range order {
		if !s.Empty() && !has(out, s) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return []secret.String{{}}
	}
	return out
}

func has(list []secret.String, s secret.String) bool {
	return slices.ContainsFunc(list, s.Equal)
}

// tryWays goes through the client secrets or certificates, the one that worked last first, while the provider refuses the client.
func (k *Keeper) tryWays(ctx context.Context, a *account, w Wish, refresh secret.String) (Minted, error) {
	grant := k.Grants[w.Credential.Provider]
	if grant == nil {
		return Minted{}, &remedy.Fault{Class: remedy.WrongConfig, Reason: remedy.GrantNotServed,
			Remedy: "Whoever configures the broker must choose another provider: this one is not served."}
	}
	var m Minted
	var err error
	for _, c := range a.healthyFirst(w.Credential.Ways()) {
		m, err = grant.Mint(ctx, c, refresh, w.Audience)
		k.meters.minted(&c, err)
		a.proved(c.Proof(), err)
		if !clientRefused(err) {
			break
		}
	}
	return m, err
}

// proved remembers how the application's secret or certificate fared; what fails for another reason says nothing about it.
func (a *account) proved(proof secret.Fingerprint, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		a.healthy = proof
		delete(a.refused, proof)
	case clientRefused(err):
		a.refused[proof] = true
	}
}

func (a *account) healthyFirst(ways []token.Credential) []token.Credential {
	a.mu.Lock()
	healthy := a.healthy
	a.mu.Unlock()
	i := slices.IndexFunc(ways, func(c token.Credential) bool { return c.Proof() == healthy })
	if i <= 0 {
		return ways
	}
	return slices.Concat(ways[i:i+1], ways[:i], ways[i+1:])
}

// asFault is the fault in err; a Grant that breaks its contract counts as a transient one.
func asFault(err error) *remedy.Fault {
	var f *remedy.Fault
	if errors.As(err, &f) {
		return f
	}
	return remedy.FromError(remedy.About{}, err)
}

func grantRefused(err error) bool {
	return err != nil && asFault(err).Reason == remedy.ReauthorizationRequired
}

func clientRefused(err error) bool {
	if err == nil {
		return false
	}
	f := asFault(err)
	return f.Reason == remedy.ClientSecretInvalid || f.Reason == remedy.ClientSecretExpired || f.Reason == remedy.ClientCertificateUnknown
}
