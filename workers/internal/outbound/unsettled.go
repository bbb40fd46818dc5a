package outbound

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// unsettled are the outcomes that the store could not take in time. Their claims lapse and the jobs come back in doubt, but to
// whoever made the attempt there is none.
type unsettled struct {
	mu  sync.Mutex
	all map[string]outcome // by Job.ID
}

// outcome is what became of an attempt.
type outcome struct {
	receipt Receipt
	err     error
	verdict Verdict
	at      time.Time     // when it was known
	took    time.Duration // the attempt
}

// unsettledFor is for how long an outcome is remembered whose job another worker may have settled.
const unsettledFor = time.Hour

// add remembers an outcome. What is in doubt is nothing to remember.
func (u *unsettled) add(j Job, o outcome) {
	if o.verdict.Doubt {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all = map[string]outcome{}
	}
	maps.DeleteFunc(u.all, func(_ string, old outcome) bool { return o.at.Sub(old.at) > unsettledFor })
	u.all[j.ID] = o
}

// take gives an outcome back once, if the job came back for want of it. A job that is in no doubt was queued anew by an
// operator, who wants it sent.
func (u *unsettled) take(j Job) (outcome, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	o, known := u.all[j.ID]
	delete(u.all, j.ID)
	o.verdict = o.verdict.about(j)
	return o, known && j.InDoubt
}

// about leaves the recipients of a job that are open still.
func (v Verdict) about(j Job) Verdict {
	open := map[string]bool{}
	for _, to := range j.Envelope.Recipients {
		open[to.Address] = true
	}
	closed := func(f Failure) bool { return !open[f.Address] }
	v.Sent = slices.DeleteFunc(slices.Clone(v.Sent), func(a string) bool { return !open[a] })
	v.Dead, v.Later = slices.DeleteFunc(slices.Clone(v.Dead), closed), slices.DeleteFunc(slices.Clone(v.Later), closed)
	return v
}
