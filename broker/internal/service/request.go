package service

import (
	"crypto/rand"
	"strconv"
	"sync/atomic"
)

// requests names calls for the audit: by a word that no other process has, and a number. A random word for each would cost
// more than the policy's decision.
type requests struct {
	process string
	count   atomic.Uint64
}

func newRequests() *requests { return &requests{process: rand.Text()[:13] + "-"} } // 65 random bits

// next is a name that was not there before.
func (r *requests) next() string {
	var room [32]byte
	return string(strconv.AppendUint(append(room[:0], r.process...), r.count.Add(1), 10))
}
