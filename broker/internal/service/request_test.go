package service

import (
	"strings"
	"sync"
	"testing"
)

func TestRequestsHaveNamesOfTheirOwn(t *testing.T) {
	one, two := newRequests(), newRequests()
	var seen sync.Map
	var wg sync.WaitGroup
	for _, r := range []*requests{one, two, one} {
		wg.Go(func() {
			for range 1000 {
				name := r.next()
				if _, twice := seen.LoadOrStore(name, true); twice || !strings.HasPrefix(name, r.process) {
					t.Errorf("%s came twice, or is not of its process", name)
				}
			}
		})
	}
	wg.Wait()
	if one.process == two.process {
		t.Error("two processes of one name")
	}
}
