package stage

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Count is what became of the letters to one mailbox.
type Count struct {
	Expected, Arrived, Lost, Doubled, Altered int
}

// Arrivals compares the Maildirs with the letters, byte for byte; Rebuilt ones by what they hold. It remembers the files it has read: Maildir files never
// change.
type Arrivals struct {
	// BehindTrace ignores what real servers do to a letter: Return-Path and Received before its first header, and files
	// with the line ends of Unix.
	BehindTrace bool
	// Elsewhere are the Maildirs of mailboxes whose mail does not arrive under root.
	Elsewhere map[string]string

	root     string // one Maildir a mailbox, named after its address
	expected map[string]map[[sha256.Size]byte]int
	contents map[[sha256.Size]byte][sha256.Size]byte // Digest -> sum, of the Rebuilt
	seen     map[string][sha256.Size]byte            // path -> sum
}

// Expect prepares to find the letters in one Maildir a mailbox under root.
func Expect(root string, letters []Letter) *Arrivals {
	a := &Arrivals{root: root, expected: map[string]map[[sha256.Size]byte]int{}, contents: map[[sha256.Size]byte][sha256.Size]byte{}, seen: map[string][sha256.Size]byte{}}
	for _, l := range letters {
		if l.Rebuilt {
			a.contents[Digest(l.Bytes)] = l.Sum
		}
		for _, to := range l.To {
			if a.expected[to] == nil {
				a.expected[to] = map[[sha256.Size]byte]int{}
			}
			a.expected[to][l.Sum] = 0
		}
	}
	return a
}

// Await looks until everything has arrived or limit has passed. What must not happen (doubled, altered) may come late, so
// it looks once more after a while.
func (a *Arrivals) Await(ctx context.Context, limit, after time.Duration) (map[string]Count, error) {
	deadline := time.After(limit)
	for {
		counts, err := a.Look()
		if err != nil {
			return nil, err
		}
		if Total(counts).Lost == 0 {
			break
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-deadline:
			return counts, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	select {
	case <-time.After(after):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return a.Look()
}

// Look reads what is new and counts, for each mailbox.
func (a *Arrivals) Look() (map[string]Count, error) {
	counts := make(map[string]Count, len(a.expected))
	for address, sums := range a.expected {
		clear := make(map[[sha256.Size]byte]int, len(sums))
		for sum := range sums {
			clear[sum] = 0
		}
		a.expected[address] = clear
		c, err := a.lookInto(address)
		if err != nil {
			return nil, err
		}
		counts[address] = c
	}
	return counts, nil
}

func (a *Arrivals) lookInto(address string) (Count, error) {
	sums := a.expected[address]
	c := Count{Expected: len(sums)}
	err := filepath.WalkDir(cmp.Or(a.Elsewhere[address], filepath.Join(a.root, address)), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || !(strings.HasSuffix(filepath.Dir(path), "new") || strings.HasSuffix(filepath.Dir(path), "cur")) {
			return err
		}
		sum, err := a.sum(path)
		if err != nil {
			return err
		}
		c.Arrived++
		if _, known := sums[sum]; !known {
			c.Altered++
			return nil
		}
		sums[sum]++
		return nil
	})
	for _, n := range sums {
		switch {
		case n == 0:
			c.Lost++
		case n > 1:
			c.Doubled += n - 1
		}
	}
	return c, err
}

func (a *Arrivals) sum(path string) ([sha256.Size]byte, error) {
	if sum, ok := a.seen[path]; ok {
		return sum, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	if i := bytes.Index(b, []byte(firstHeader)); a.BehindTrace && i > 0 {
		b = b[i:]
	}
	if a.BehindTrace && !bytes.Contains(b, []byte("\r\n")) {
		b = bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
	}
	sum := sha256.Sum256(b)
	if len(a.contents) > 0 {
		if same, known := a.contents[Digest(b)]; known {
			sum = same
		}
	}
	a.seen[path] = sum
	return sum, nil
}

// BySender is what became of the letters at the last look, by who wrote them: Expected, Arrived (at each recipient), Lost
// and Doubled (somebody has it more than once) count letters.
func (a *Arrivals) BySender(letters []Letter) map[string]Count {
	counts := map[string]Count{}
	for _, l := range letters {
		least, most := len(letters), 0
		for _, to := range l.To {
			n := a.expected[to][l.Sum]
			least, most = min(least, n), max(most, n)
		}
		c := counts[l.From]
		c.Expected++
		if least > 0 {
			c.Arrived++
		} else {
			c.Lost++
		}
		if most > 1 {
			c.Doubled++
		}
		counts[l.From] = c
	}
	return counts
}

// Total adds up.
func Total(counts map[string]Count) Count {
	var t Count
	for _, c := range counts {
		t.Expected += c.Expected
		t.Arrived += c.Arrived
		t.Lost += c.Lost
		t.Doubled += c.Doubled
		t.Altered += c.Altered
	}
	return t
}
