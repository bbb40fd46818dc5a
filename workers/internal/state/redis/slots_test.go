package redis

import (
	"testing"
	"time"

	"mailporter/kit/redistest"
	"mailporter/workers/internal/slots"
	"mailporter/workers/internal/slots/slotstest"
)

// openSlots gives another worker's each time; those of two tests have nothing to do with each other.
func openSlots(url string) func(t *testing.T) slots.Slots {
	return func(t *testing.T) slots.Slots {
		t.Helper()
		return openSlotsAt(t, place{url: url})
	}
}

func openSlotsAt(t *testing.T, p place) slots.Slots {
	t.Helper()
	s := p.open(t, p.url)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Slots()
}

func TestSlots(t *testing.T) {
	slotstest.Slots(t, openSlots(redistest.Start(t).URL()))
}

// TestSlotOfTheDead: what a worker held that died is free again once it lapses, and not before while it lives.
func TestSlotOfTheDead(t *testing.T) {
	s := openAt(t, redistest.Start(t))
	defer s.Close()
	const name = "graph a@x.example"
	release, err := s.Slots().Take(t.Context(), name, 1)
	if err != nil {
		t.Fatal(err)
	}
	marks, err := s.client.ZRangeWithScores(t.Context(), slotsKey(name), 0, -1).Result()
	if err != nil || len(marks) != 1 {
		t.Fatalf("%v, %v", marks, err)
	}
	dead := marks[0].Member.(string)
	near := marks[0]
	near.Score -= float64((slotLife - 300*time.Millisecond).Milliseconds()) // as if it had last been renewed so long ago
	if err := s.client.ZAdd(t.Context(), slotsKey(name), near).Err(); err != nil {
		t.Fatal(err)
	}
	alive := &slot{client: s.client, key: slotsKey(name), mark: dead, renewal: time.NewTimer(time.Hour)}
	alive.renew()
	alive.renewal.Stop()
	if score, err := s.client.ZScore(t.Context(), slotsKey(name), dead).Result(); err != nil || score < marks[0].Score {
		t.Errorf("renewed until %f, %v; was %f", score, err, marks[0].Score)
	}
	if err := s.client.ZAdd(t.Context(), slotsKey(name), near).Err(); err != nil {
		t.Fatal(err)
	}
	other, err := s.Slots().(*fleetSlots).stranger().Take(t.Context(), name, 1)
	if err != nil {
		t.Fatal(err)
	}
	alive.renew() // too late: it is another one's
	alive.renewal.Stop()
	if n, err := s.client.ZCard(t.Context(), slotsKey(name)).Result(); err != nil || n != 1 {
		t.Errorf("%d are taken, %v", n, err)
	}
	other()
	release()
}

// stranger is another worker at the same Redis.
func (f *fleetSlots) stranger() *fleetSlots { return &fleetSlots{client: f.client} }
