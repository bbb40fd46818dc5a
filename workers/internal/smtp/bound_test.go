package smtp

import (
	"testing"
	"testing/synctest"
	"time"
)

// What a server said on a bad day does not hold for ever.
func TestBoundIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bound
		b.learn(1)
		time.Sleep(remembered - time.Second)
		if b.known() != 1 {
			t.Error("forgotten too early")
		}
		time.Sleep(2 * time.Second)
		if b.known() != 0 {
			t.Error("remembered for too long")
		}
	})
}
