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
	all map[string]attempted // by Job.ID
}

// attempted is an outcome, and the job as it was claimed for it.
type attempted struct {
	outcome
	job Job
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
		u.all = map[string]attempted{}
	}
	maps.DeleteFunc(u.all, func(_ string, old attempted) bool { return o.at.Sub(old.at) > unsettledFor })
	u.all[j.ID] = attempted{o, j}
}

// take gives an outcome back once, if the job came back for want of it. A job that is in no doubt was queued anew by an
// operator, who wants it sent. Where others have made an attempt since then, only what was sent still holds: that a server did not
// take the message from us does not say that it did not take it from them.
func (u *unsettled) take(j Job) (outcome, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	a, known := u.all[j.ID]
	delete(u.all, j.ID)
	a.verdict = a.verdict.about(j)
	allSent := len(a.verdict.Dead) == 0 && len(a.verdict.Later) == 0
	return a.outcome, known && j.InDoubt && (allSent || j.follows(a.job))
}

// follows says whether a job came back because the claim of an earlier attempt lapsed, with none in between.
func (j Job) follows(earlier Job) bool {
	return j.Attempts == earlier.Attempts+1 && j.Accepted.Equal(earlier.Accepted)
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
