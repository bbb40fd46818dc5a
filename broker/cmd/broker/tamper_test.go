package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailporter/broker/internal/store/seal"
	"mailporter/kit/redistest"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// vault is a broker's Redis, opened by somebody who should not.
type vault struct {
	*redistest.Server
	t *testing.T
}

// find is the only key of that pattern.
func (v vault) find(pattern string) string {
	v.t.Helper()
	got, err := v.Do("KEYS", pattern)
	keys, ok := got.([]any)
	if err != nil || !ok || len(keys) != 1 {
		v.t.Fatalf("%s: %v, %v", pattern, got, err)
	}
	return fmt.Sprint(keys[0])
}

func (v vault) must(args ...any) any {
	v.t.Helper()
	got, err := v.Do(args...)
	if err != nil {
		v.t.Fatalf("%v: %v", args[0], err)
	}
	return got
}

// copy puts a value under another key, byte for byte.
func (v vault) copy(from, to string) {
	v.t.Helper()
	v.must("RESTORE", to, 0, v.must("DUMP", from), "REPLACE")
}

// rifled is a broker that has an operator, its Redis, and the number of token requests so far.
func rifled(t *testing.T) (*site, vault, func() int) {
	t.Helper()
	sb := provider(t, time.Hour)
	v := vault{redistest.Start(t), t}
	s := newSite(t, sb, v.URL())
	s.write("policy.yaml", policy+operatorRule)
	if err := seal.Make(filepath.Join(s.dir, "secrets/keyset.json")); err != nil {
		t.Fatal(err)
	}
	return s, v, func() int { return sb.TokenRequests().Total }
}

// rekey gives the broker another keyset.
func (s *site) rekey() {
	s.t.Helper()
	path := filepath.Join(s.dir, "secrets/keyset.json")
	if err := os.Remove(path); err != nil {
		s.t.Fatal(err)
	}
	if err := seal.Make(path); err != nil {
		s.t.Fatal(err)
	}
}

// alarmed checks that a value which does not open was told about, without the value.
func (s *site) alarmed(message string) {
	s.t.Helper()
	if got := s.gauge("broker_sealed_total"); got < 1 {
		s.t.Errorf("broker_sealed_total is %v", got)
	}
	log := s.out.String()
	if !strings.Contains(log, `"level":"ERROR","msg":"`+message) {
		s.t.Errorf("no %q in\n%s", message, log)
	}
	if strings.Contains(log, "spoiled") || strings.Contains(log, "MARKER") {
		s.t.Errorf("a value in the log:\n%s", log)
	}
}

// TestSpoiledToken: a cached token that does not open is asked for anew.
func TestSpoiledToken(t *testing.T) {
	for name, spoil := range map[string]func(vault, string){
		"tampered": func(v vault, key string) { v.must("HSET", key, "v", "spoiled") },
		"moved":    func(v vault, key string) { v.copy("kept", key) },
	} {
		t.Run(name, func(t *testing.T) {
			s, v, requests := rifled(t)
			s.start()
			if _, err := ask(s.connect(worker), "entra@contoso.example", in); err != nil {
				t.Fatal(err)
			}
			v.must("RENAME", v.find("mailporter:*:token:*"), "kept")
			before, err := ask(s.connect(worker), "app@contoso.example", in)
			if err != nil {
				t.Fatal(err)
			}
			key := v.find("mailporter:*:token:*")
			s.end()
			spoil(v, key)
			s.start()
			after, err := ask(s.connect(worker), "app@contoso.example", in)
			if err != nil || after.GetAccessToken().GetValue() == before.GetAccessToken().GetValue() || requests() != 3 {
				t.Fatalf("%d requests, %v", requests(), err)
			}
			s.alarmed("a cached token does not open with the keyset")
		})
	}
}

// TestSpoiledRefreshToken: what does not open is not replaced by the configured refresh token, which may be years older, until a
// person says so; and then it is still kept.
func TestSpoiledRefreshToken(t *testing.T) {
	for name, spoil := range map[string]func(*site, vault, string){
		"tampered": func(_ *site, v vault, key string) { v.must("SET", key, "spoiled") },
		"moved":    func(_ *site, v vault, key string) { v.copy("kept", key) },
		"re-keyed": func(s *site, _ vault, _ string) { s.rekey() },
	} {
		t.Run(name, func(t *testing.T) {
			s, v, requests := rifled(t)
			s.start()
			if _, err := ask(s.connect(worker), "orders@shop.example", in); err != nil {
				t.Fatal(err)
			}
			v.must("RENAME", v.find("mailporter:*:record"), "kept")
			if _, err := ask(s.connect(worker), "entra@contoso.example", in); err != nil {
				t.Fatal(err)
			}
			s.end()
			key := v.find("mailporter:*:record")
			id := strings.TrimSuffix(key, "record")
			v.must("DEL", v.find(id+"token:*"))
			spoil(s, v, key)
			stored := v.must("GET", key)
			s.start()
			c := s.connect(worker)
			for range 2 {
				if _, err := ask(c, "entra@contoso.example", in); reason(err) != "FailedPrecondition needs-admin STORED_CREDENTIAL_UNREADABLE" {
					t.Fatalf("%s: %v", reason(err), err)
				}
			}
			if v.must("GET", key) != stored || requests() != 2 {
				t.Errorf("it was overwritten, or the provider was asked: %d requests", requests())
			}
			s.alarmed("a stored credential does not open with the keyset")
			s.resets("entra@contoso.example")
			if _, err := ask(c, "entra@contoso.example", in); err != nil {
				t.Fatalf("after the reset: %v", err)
			}
			if v.must("GET", id+"unreadable") != stored {
				t.Error("what did not open was thrown away")
			}
			s.out.wait(t, "a stored credential that does not open was put aside, as an operator wished; it begins anew with what is configured", "credential")
		})
	}
}

// resets says that the cause is gone.
func (s *site) resets(mailbox string) {
	s.t.Helper()
	_, err := s.mailboxes(operator).ResetMailbox(s.t.Context(), &brokerv1.ResetMailboxRequest{Selector: &brokerv1.Selector{Mailbox: mailbox, Direction: in}})
	if err != nil {
		s.t.Fatalf("reset: %v", err)
	}
}

// TestSpoiledFreeze: a freeze that cannot be read is found out about again, with one request and an alarm.
func TestSpoiledFreeze(t *testing.T) {
	for name, spoil := range map[string]func(*site, vault, string){
		"tampered": func(_ *site, v vault, key string) { v.must("SET", key, "spoiled") },
		"re-keyed": func(s *site, _ vault, _ string) { s.rekey() },
	} {
		t.Run(name, func(t *testing.T) {
			s, v, requests := rifled(t)
			const want = "FailedPrecondition wrong-config CLIENT_SECRET_INVALID"
			s.start()
			if _, err := ask(s.connect(worker), "wrong@contoso.example", in); reason(err) != want {
				t.Fatal(err)
			}
			s.end()
			spoil(s, v, v.find("mailporter:*:record"))
			s.start()
			c := s.connect(worker)
			for range 3 {
				if _, err := ask(c, "wrong@contoso.example", in); reason(err) != want {
					t.Fatal(err)
				}
			}
			if requests() != 2 {
				t.Errorf("%d requests", requests())
			}
			s.alarmed("a stored credential does not open with the keyset")
		})
	}
}
