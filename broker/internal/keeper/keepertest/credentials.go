package keepertest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// StoredCredentials is a Credentials with hands on what is stored.
type StoredCredentials struct {
	Credentials keeper.Credentials
	Other       keeper.Credentials    // another broker's over the same store; nil: the store serves one process
	Tamper      func(id string)       // spoils the stored record
	Move        func(from, to string) // copies the stored bytes to another credential
}

// Credentials is the suite of a Credentials. open makes a fresh, empty one.
func Credentials(t *testing.T, open func(t *testing.T) StoredCredentials) {
	for name, check := range map[string]func(*testing.T, StoredCredentials){
		"nothing is a zero record":        credentialsEmpty,
		"keeps every field":               credentialsRoundTrip,
		"a lease shuts others out":        credentialsExclusive,
		"a lease lapses and is lost":      credentialsLapse,
		"a released lease writes no more": credentialsReleased,
		"a lease sees the last record":    credentialsLastRecord,
		"a spoiled record does not open":  credentialsTampered,
		"a moved record does not open":    credentialsMoved,
		"others hear of changes":          credentialsChanges,
		"no write is lost":                credentialsCompareAndSet,
	} {
		t.Run(name, func(t *testing.T) { check(t, open(t)) })
	}
}

const (
	credential = "cred-1"
	longLease  = time.Minute
	patience   = 20 * time.Second // for what takes no time on a machine that is not overloaded
)

// full is a record with every field set.
func full() keeper.Record {
	now := time.Now().Truncate(time.Millisecond).UTC()
	fault := func(reason string) *remedy.Fault {
		return &remedy.Fault{
			Class: remedy.NeedsUser, Reason: reason, Remedy: "Somebody must act.", Link: "https://x.example", After: time.Second, Status: 400,
			OAuth: "invalid_grant", Suberror: "bad_token", Codes: []int{50173, 1}, Trace: "trace", Detail: "detail", OfAudience: true, Tries: 2,
		}
	}
	return keeper.Record{
		Refresh: secret.New("refresh-2"), Previous: secret.New("refresh-1"), Version: "v-1", Frozen: fault("FROZEN"),
		Barred: map[token.Audience]*remedy.Fault{"scope a": fault("BARRED")}, Since: now.Add(-time.Hour), Failures: 3,
		Hold: now.Add(time.Minute), Last: fault("LAST"), Rotated: now.Add(-time.Minute), Minted: now.Add(-2 * time.Minute), Changed: now,
		First: now.Add(-time.Hour), Forced: []time.Time{now.Add(-time.Minute), now},
	}
}

// differences names the fields in which two records differ.
func differences(a, b keeper.Record) (names []string) {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		x, y := va.Field(i).Interface(), vb.Field(i).Interface()
		var same bool
		switch x := x.(type) {
		case secret.String:
			same = x.Equal(y.(secret.String))
		case time.Time:
			same = x.Equal(y.(time.Time))
		case []time.Time:
			same = slices.EqualFunc(x, y.([]time.Time), time.Time.Equal)
		default:
			same = reflect.DeepEqual(x, y)
		}
		if !same {
			names = append(names, va.Type().Field(i).Name)
		}
	}
	return names
}

func lease(t *testing.T, c keeper.Credentials, id string, ttl time.Duration) keeper.Lease {
	t.Helper()
	l, err := c.Lease(t.Context(), id, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// save writes a record under a lease of its own.
func (s StoredCredentials) save(t *testing.T, id string, r keeper.Record) {
	t.Helper()
	l := lease(t, s.Credentials, id, longLease)
	if err := errors.Join(l.Save(t.Context(), r), l.Release(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func (s StoredCredentials) load(t *testing.T, id string) keeper.Record {
	t.Helper()
	r, err := s.Credentials.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func credentialsEmpty(t *testing.T, s StoredCredentials) {
	if d := differences(s.load(t, credential), keeper.Record{}); d != nil {
		t.Errorf("fields set: %v", d)
	}
	if d := differences(lease(t, s.Credentials, credential, longLease).Record(), keeper.Record{}); d != nil {
		t.Errorf("fields set under the lease: %v", d)
	}
}

func credentialsRoundTrip(t *testing.T, s StoredCredentials) {
	want := full()
	for i := range reflect.TypeOf(want).NumField() {
		if reflect.ValueOf(want).Field(i).IsZero() {
			t.Fatalf("the suite does not set %s", reflect.TypeOf(want).Field(i).Name)
		}
	}
	s.save(t, credential, want)
	if d := differences(s.load(t, credential), want); d != nil {
		t.Errorf("not kept: %v", d)
	}
	s.save(t, credential, keeper.Record{Version: "v-2"})
	if d := differences(s.load(t, credential), keeper.Record{Version: "v-2"}); d != nil {
		t.Errorf("left over: %v", d)
	}
}

func credentialsExclusive(t *testing.T, s StoredCredentials) {
	l := lease(t, s.Credentials, credential, longLease)
	if _, err := s.Credentials.Lease(t.Context(), credential, longLease); !errors.Is(err, keeper.ErrLeased) {
		t.Errorf("second lease: %v", err)
	}
	if s.Other != nil {
		if _, err := s.Other.Lease(t.Context(), credential, longLease); !errors.Is(err, keeper.ErrLeased) {
			t.Errorf("another broker's lease: %v", err)
		}
	}
	other := lease(t, s.Credentials, "cred-2", longLease)
	if err := errors.Join(l.Release(t.Context()), other.Release(t.Context())); err != nil {
		t.Fatal(err)
	}
	lease(t, s.Credentials, credential, longLease)
}

// whenFree takes the lease as soon as it is free.
func whenFree(ctx context.Context, c keeper.Credentials, id string) (keeper.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		l, err := c.Lease(ctx, id, longLease)
		if !errors.Is(err, keeper.ErrLeased) {
			return l, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.New("the lease never lapsed")
		}
	}
}

func credentialsLapse(t *testing.T, s StoredCredentials) {
	old := lease(t, s.Credentials, credential, 100*time.Millisecond)
	taker := s.Credentials
	if s.Other != nil {
		taker = s.Other
	}
	next, err := whenFree(t.Context(), taker, credential)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Save(t.Context(), keeper.Record{Version: "next"}); err != nil {
		t.Fatal(err)
	}
	if err := old.Save(t.Context(), keeper.Record{Version: "old"}); !errors.Is(err, keeper.ErrLost) {
		t.Errorf("save with a lost lease: %v", err)
	}
	if err := old.Release(t.Context()); err != nil && !errors.Is(err, keeper.ErrLost) {
		t.Errorf("release of a lost lease: %v", err)
	}
	if got := s.load(t, credential).Version; got != "next" {
		t.Errorf("the lost lease wrote %q", got)
	}
	if _, err := s.Credentials.Lease(t.Context(), credential, longLease); !errors.Is(err, keeper.ErrLeased) {
		t.Errorf("the release of a lost lease ended another's: %v", err)
	}
}

func credentialsReleased(t *testing.T, s StoredCredentials) {
	l := lease(t, s.Credentials, credential, longLease)
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Save(t.Context(), full()); !errors.Is(err, keeper.ErrLost) {
		t.Errorf("save after release: %v", err)
	}
	if d := differences(s.load(t, credential), keeper.Record{}); d != nil {
		t.Errorf("written: %v", d)
	}
}

func credentialsLastRecord(t *testing.T, s StoredCredentials) {
	want := full()
	s.save(t, credential, want)
	c := s.Credentials
	if s.Other != nil {
		c = s.Other
	}
	if d := differences(lease(t, c, credential, longLease).Record(), want); d != nil {
		t.Errorf("the lease does not see: %v", d)
	}
}

func credentialsTampered(t *testing.T, s StoredCredentials) {
	s.save(t, credential, full())
	s.Tamper(credential)
	r, err := s.Credentials.Load(t.Context(), credential)
	if d := differences(r, keeper.Record{}); !errors.Is(err, keeper.ErrSealed) || d != nil {
		t.Errorf("%v, fields set: %v", err, d)
	}
	for range 2 { // the second would answer ErrLeased if the first had kept a lease
		if _, err := s.Credentials.Lease(t.Context(), credential, time.Minute); !errors.Is(err, keeper.ErrSealed) {
			t.Errorf("lease of a record that does not open: %v", err)
		}
	}
	s.shelved(t)
}

// shelved begins anew where a record did not open.
func (s StoredCredentials) shelved(t *testing.T) {
	t.Helper()
	shelf, ok := s.Credentials.(keeper.Shelver)
	if !ok {
		return
	}
	for range 2 { // twice is once
		if err := shelf.Shelve(t.Context(), credential); err != nil {
			t.Fatal(err)
		}
	}
	l := lease(t, s.Credentials, credential, time.Minute)
	if d := differences(l.Record(), keeper.Record{}); d != nil {
		t.Errorf("after it was put aside, fields set: %v", d)
	}
	if err := l.Save(t.Context(), full()); err != nil {
		t.Error(err)
	}
}

func credentialsMoved(t *testing.T, s StoredCredentials) {
	s.save(t, credential, full())
	s.save(t, "cred-2", keeper.Record{Version: "v"})
	s.Move(credential, "cred-2")
	r, err := s.Credentials.Load(t.Context(), "cred-2")
	if d := differences(r, keeper.Record{}); !errors.Is(err, keeper.ErrSealed) || d != nil {
		t.Errorf("%v, fields set: %v", err, d)
	}
}

func credentialsChanges(t *testing.T, s StoredCredentials) {
	if s.Other == nil {
		return // one process: nobody else changes anything
	}
	// A subscription takes effect some time after it was asked for: go on changing until the other side hears.
	heard, stop := make(chan struct{}), time.NewTimer(patience)
	defer stop.Stop()
	go func() {
		defer close(heard)
		for id := range s.Other.Changes() {
			if id == credential {
				return
			}
		}
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s.save(t, credential, full())
		select {
		case <-heard:
			return
		case <-tick.C:
		case <-stop.C:
			t.Fatal("the other broker heard of no change")
		}
	}
}

func credentialsCompareAndSet(t *testing.T, s StoredCredentials) {
	brokers := []keeper.Credentials{s.Credentials, s.Credentials}
	if s.Other != nil {
		brokers[1] = s.Other
	}
	const each = 10
	var all sync.WaitGroup
	for _, c := range brokers {
		for range 3 {
			all.Go(func() {
				for range each {
					if err := countOneFailure(t.Context(), c); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	if got := s.load(t, credential).Failures; got != 6*each {
		t.Errorf("%d writes of %d are left", got, 6*each)
	}
}

func countOneFailure(ctx context.Context, c keeper.Credentials) error {
	l, err := whenFree(ctx, c, credential)
	if err != nil {
		return err
	}
	r := l.Record()
	r.Failures++
	return errors.Join(l.Save(ctx, r), l.Release(ctx))
}
