package redistest_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mailporter/kit/certtest"
	"mailporter/kit/redistest"
)

// say sends one inline command and returns the first line of the answer.
func say(t *testing.T, addr, command string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "%s\r\n", command); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(line, "$") && !strings.HasPrefix(line, "$-1") {
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	return strings.TrimSpace(line)
}

func TestSurvivesAKill(t *testing.T) {
	s := redistest.Start(t)
	if got := say(t, s.Addr(), "SET key value-1"); got != "+OK" {
		t.Fatal(got)
	}
	s.Kill()
	if c, err := net.Dial("tcp", s.Addr()); err == nil {
		c.Close()
		t.Fatal("somebody still listens")
	}
	s.Restart()
	if got := say(t, s.Addr(), "GET key"); got != "value-1" {
		t.Fatalf("after the restart: %q", got)
	}
	if !bytes.Contains(s.Files(), []byte("value-1")) {
		t.Fatal("Files does not show what was written")
	}
}

func TestTwoServersAndTheirArguments(t *testing.T) {
	a, b := redistest.Start(t), redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	if a.Addr() == b.Addr() || a.Dir() == b.Dir() {
		t.Fatal("they share")
	}
	say(t, a.Addr(), "SET only here")
	if got := say(t, b.Addr(), "GET only"); got != "$-1" {
		t.Fatalf("b knows %q", got)
	}
	if got := say(t, b.Addr(), "INFO memory"); got == "" {
		t.Fatal("no answer")
	}
}

func TestFailover(t *testing.T) {
	s := redistest.StartSentinel(t)
	old := s.Primary()
	if got, err := old.Do("SET", "key", "value-1"); err != nil || got != "OK" {
		t.Fatal(got, err)
	}
	if n, err := old.Do("WAIT", 2, 10000); err != nil {
		t.Fatal(n, err)
	}
	s.Failover()
	next := s.Primary()
	if next == old {
		t.Fatal("the dead one is still the primary")
	}
	if got, err := next.Do("GET", "key"); err != nil || got != "value-1" {
		t.Fatal(got, err)
	}
	s.Rejoin()
	if got := say(t, old.Addr(), "SET key value-2"); !strings.HasPrefix(got, "-READONLY") {
		t.Fatalf("the old primary takes writes: %s", got)
	}
}

func TestSlotsMove(t *testing.T) {
	c := redistest.StartCluster(t, 1)
	slot := c.Slot("{tag}a")
	old := c.Owner(slot)
	for _, key := range []string{"{tag}a", "{tag}b"} {
		if _, err := old.Do("SET", key, "value"); err != nil {
			t.Fatal(err)
		}
	}
	var answers []string
	c.Move(slot, func() { answers = append(answers, strings.Fields(say(t, old.Addr(), "GET {tag}a"))[0]) })
	if len(answers) != 3 || answers[0] != "value" || answers[2] != "-ASK" {
		t.Fatalf("on the way: %v", answers)
	}
	next := c.Owner(slot)
	if got := say(t, next.Addr(), "GET {tag}b"); next == old || got != "value" {
		t.Fatalf("after it: %s", got)
	}
	if got := say(t, old.Addr(), "GET {tag}b"); !strings.HasPrefix(got, "-MOVED") {
		t.Fatalf("the old owner: %s", got)
	}
	if n, err := next.Do("WAIT", 1, 10000); err != nil {
		t.Fatal(n, err)
	}
	c.Failover(slot)
	if got := say(t, c.Owner(slot).Addr(), "GET {tag}b"); c.Owner(slot) == next || got != "value" {
		t.Fatalf("after the failover: %s", got)
	}
}

func TestSpeaksTLSAndKnowsUsers(t *testing.T) {
	ca, err := certtest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	s := redistest.StartTLS(t, ca)
	s.User("u", "p", "~a:* +get +ping")
	if got, err := s.Do("AUTH", "u", "p"); err != nil || got != "OK" {
		t.Fatal(got, err)
	}
	if got := s.URLOf("u", "p"); got != "rediss://u:p@"+s.Addr()+"/0" {
		t.Fatal(got)
	}
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprint(c, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); bytes.Contains(b, []byte("PONG")) {
		t.Fatalf("it answers without TLS: %q, %v", b, err)
	}
}
