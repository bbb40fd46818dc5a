package inbound_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/mail"
)

var folder = mail.Folder{Mailbox: "support@contoso.example", Name: "INBOX"}

// post is a message on the fake server.
type post struct {
	number int // unique and ascending: what UID, UIDL and ids are made of
	body   []byte
	size   int64 // as announced
}

// server is a mailbox with one of the four kinds of cursor.
type server struct {
	kind   kind
	remove bool // settled messages are deleted

	mu     sync.Mutex
	posts  []post
	last   int // number given last
	epoch  int // cursors of another one are lost
	listed int
	opened map[int]int
	broken map[int]error // by number: what Open answers
	aside  []int         // moved to the failed-items folder
}

// kind is a kind of cursor, as the protocols have them.
type kind string

const (
	byUID   kind = "UIDVALIDITY and UID"              // ascending, last number
	byUIDL  kind = "set of UIDLs"                     // no order kept by the cursor at all
	bySync  kind = "SyncState, newest first"          // a page shows its newest first
	byDelta kind = "deltaLink with replays, no order" // an item of the page before comes again, and pages may be empty
)

var kinds = []kind{byUID, byUIDL, bySync, byDelta}

// mark is what the fake cursors hold.
type mark struct {
	Epoch int
	Last  int
	Seen  []int
	Empty bool // the next page is an empty one
}

func (s *server) add(bodies ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range bodies {
		s.last++
		s.posts = append(s.posts, post{s.last, []byte(b), int64(len(b))})
	}
}

// forget loses all cursors.
func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
}

func (s *server) left() (all []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.posts {
		all = append(all, p.number)
	}
	return all
}

// source is one process's view of a server.
type source struct{ *server }

func (s source) List(_ context.Context, after inbound.Cursor, limit int) (inbound.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed++
	at := mark{Epoch: s.epoch}
	if after != nil {
		if err := json.Unmarshal(after, &at); err != nil || at.Epoch != s.epoch {
			return inbound.Page{}, fault.New(fault.CursorLost, errors.New("no such cursor"))
		}
	}
	if s.kind == byDelta && !at.Empty {
		at.Empty = true
		return inbound.Page{Next: write(at), More: true}, nil
	}
	at.Empty = false
	return s.next(at, limit), nil
}

// next is the page behind a mark.
func (s source) next(at mark, limit int) inbound.Page {
	var page inbound.Page
	for _, p := range s.posts {
		fresh := p.number > at.Last
		if s.kind == byUIDL {
			fresh = !slices.Contains(at.Seen, p.number)
		}
		replay := s.kind == byDelta && p.number == at.Last
		if !fresh && !replay {
			continue
		}
		if fresh && limit == 0 {
			page.More = true
			break
		}
		page.Items = append(page.Items, inbound.Item{ID: fmt.Sprintf("%d/%d", s.epoch, p.number), Key: strconv.Itoa(p.number), Size: p.size})
		if fresh {
			limit--
			at.Last, at.Seen = max(at.Last, p.number), append(at.Seen, p.number)
		}
	}
	if s.kind == bySync || s.kind == byDelta {
		slices.Reverse(page.Items)
	}
	page.Next = write(at)
	return page
}

func write(m mark) inbound.Cursor {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // ints do marshal
	}
	return b
}

func (s *server) number(id string) int {
	var epoch, n int
	if _, err := fmt.Sscanf(id, "%d/%d", &epoch, &n); err != nil {
		panic(err) // an id of ours
	}
	return n
}

func (s source) Open(_ context.Context, id string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.number(id)
	if s.opened == nil {
		s.opened = map[int]int{}
	}
	s.opened[n]++
	if err := s.broken[n]; err != nil {
		return nil, err
	}
	for _, p := range s.posts {
		if p.number == n {
			return io.NopCloser(bytes.NewReader(p.body)), nil
		}
	}
	return nil, fault.New(fault.Gone, errors.New("gone"))
}

func (s source) Settle(_ context.Context, ids []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.remove {
		s.drop(ids...)
	}
	return nil
}

// drop takes messages out; s.mu is held.
func (s *server) drop(ids ...string) {
	for _, id := range ids {
		s.posts = slices.DeleteFunc(s.posts, func(p post) bool { return p.number == s.number(id) })
	}
}

func (s source) Close() error { return nil }

// asider is a source with a failed-items folder.
type asider struct{ source }

func (s asider) SetAside(_ context.Context, id string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(id)
	s.aside = append(s.aside, s.number(id))
	return true, nil
}

// sink remembers what came.
type sink struct {
	mu     sync.Mutex
	bodies map[string]string // by key
	order  []string
	fail   map[string]error // by key
	moody  int              // every so many Puts one fails; 0 = none
	puts   int
	slow   time.Duration
	most   int // Puts that ran side by side
	now    int
}

func (s *sink) Put(ctx context.Context, _ mail.Folder, it inbound.Item, b mail.Body) error {
	s.enter()
	defer s.leave()
	if s.slow > 0 {
		time.Sleep(s.slow) // false time
	}
	r, err := b.Open()
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close(), ctx.Err()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fail[it.Key]; err != nil {
		return err
	}
	if s.puts++; s.moody > 0 && s.puts%s.moody == 0 {
		return errors.New("not now")
	}
	if s.bodies == nil {
		s.bodies = map[string]string{}
	}
	if _, ok := s.bodies[it.Key]; !ok {
		s.order = append(s.order, it.Key)
	}
	s.bodies[it.Key] = string(raw)
	return nil
}

func (s *sink) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now++
	s.most = max(s.most, s.now)
}

func (s *sink) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
}

func (s *sink) got() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]string{}
	for k, v := range s.bodies {
		all[k] = v
	}
	return all
}

func (s *sink) set(fn func(*sink)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s)
}

var errDead = errors.New("the process is dead")

// process kills itself before or after its nth step; then nothing of it has any effect.
type process struct {
	mu    sync.Mutex
	dieAt int // 0 = never
	steps int
	dead  bool
	died  chan struct{}
}

// do runs a step.
func (p *process) do(step func() error) error {
	if !p.alive() {
		return errDead
	}
	err := step()
	if !p.alive() {
		return errDead // done, but nobody lived to hear it
	}
	return err
}

func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps++
	if p.steps == p.dieAt && !p.dead {
		p.dead = true
		close(p.died)
	}
	return !p.dead
}

// mortal wraps all that a Mover uses.
type mortal struct {
	*process
	source inbound.Source
	sink   inbound.Sink
	state  *inboundtest.State
}

func (m mortal) List(ctx context.Context, c inbound.Cursor, n int) (p inbound.Page, err error) {
	err = m.do(func() error { p, err = m.source.List(ctx, c, n); return err })
	return p, err
}

func (m mortal) Open(ctx context.Context, id string) (r io.ReadCloser, err error) {
	err = m.do(func() error { r, err = m.source.Open(ctx, id); return err })
	return r, err
}

func (m mortal) Settle(ctx context.Context, ids []string) error {
	return m.do(func() error { return m.source.Settle(ctx, ids) })
}

func (m mortal) Close() error { return nil }

func (m mortal) Put(ctx context.Context, f mail.Folder, it inbound.Item, b mail.Body) error {
	return m.do(func() error { return m.sink.Put(ctx, f, it, b) })
}

func (m mortal) Lease(ctx context.Context, f mail.Folder, ttl time.Duration) (l inbound.Lease, err error) {
	err = m.do(func() error { l, err = m.state.Lease(ctx, f, ttl); return err })
	return mortalLease{m.process, l}, err
}

type mortalLease struct {
	*process
	inbound.Lease
}

func (l mortalLease) Save(ctx context.Context, c inbound.Cursor) error {
	return l.do(func() error { return l.Lease.Save(ctx, c) })
}

func (l mortalLease) Renew(ctx context.Context) error {
	return l.do(func() error { return l.Lease.Renew(ctx) })
}

func (l mortalLease) Release(ctx context.Context) error {
	return l.do(func() error { return l.Lease.Release(ctx) })
}

// hanging is a sink that waits for the end of its context.
type hanging struct{}

func (hanging) Put(ctx context.Context, _ mail.Folder, _ inbound.Item, _ mail.Body) error {
	<-ctx.Done()
	return ctx.Err()
}
