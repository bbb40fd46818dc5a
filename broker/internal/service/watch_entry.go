package service

import (
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/kit/secret"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// entry is one selector of a stream.
type entry struct {
	selector *brokerv1.Selector // as the caller wrote it
	call     *call              // what the policy decided; nothing of a hand-out is in it
	denied   *refusal           // nil: allowed
	token    *keeper.Watch      // nil: a password, no login, or denied
	said     said
}

// said is what an entry told last, as far as another word is news and has to be written down.
type said struct {
	version     string // of the settings: user, mechanism, margin
	generation  int64
	fingerprint secret.Fingerprint // of the token or password
	reason      string             // of a refusal
	remedy      string
	warning     string
}

// tell is what the entry says now. What it has not said before is written down first; if that fails the entry is withheld
// and the error is returned. wait is when it may say something else without being told to, 0 if it will be told.
func (e *entry) tell(now time.Time) (m *brokerv1.WatchTokensResponse_Entry, wait time.Duration, err error) {
	c := *e.call
	c.start = now
	answer, no := e.answer(&c)
	if fresh := e.saying(answer, no); fresh != e.said {
		c.entry.Time, c.entry.Request = now.UTC(), c.server.requests.next()
		if err = c.write(no); err != nil {
			no = unaudited()
			fresh = said{reason: no.info.GetReason()}
		}
		e.said = fresh
	}
	if no != nil {
		return e.refused(no), e.wait(no), err
	}
	return e.given(answer), 0, nil
}

// answer is what AcquireToken would answer, without waiting.
func (e *entry) answer(c *call) (*brokerv1.AcquireTokenResponse, *refusal) {
	switch {
	case e.denied != nil:
		return nil, e.denied
	case e.token == nil:
		return c.password(c.section)
	}
	h, err := e.token.Now()
	switch {
	case errors.Is(err, keeper.ErrPending):
		return nil, pending()
	case err != nil:
		return nil, fromError(err, c.section.Credential)
	}
	return c.hand(c.section, h), nil
}

// pending is the answer while a token is on its way: whoever needs it now may wait for it in AcquireToken.
func pending() *refusal {
	r := refuse(codes.Unavailable, "TOKEN_PENDING", string(remedy.Transient), "the token is on its way", "wait for the next set, or ask for it")
	r.after = leastWait
	return r
}

func (e *entry) saying(answer *brokerv1.AcquireTokenResponse, no *refusal) said {
	if no != nil {
		return said{reason: no.info.GetReason(), remedy: no.info.GetMetadata()["remedy"]}
	}
	s := said{version: e.call.section.Version, warning: answer.GetWarning()}
	if t := answer.GetAccessToken(); t != nil {
		s.generation, s.fingerprint = t.GetGeneration(), secret.Fingerprint(t.GetFingerprint())
	} else {
		s.fingerprint = e.call.section.Password.Fingerprint()
	}
	return s
}

// wait is when to look again at what nobody tells about: a password that is kept back for a time, and the audit.
func (e *entry) wait(no *refusal) time.Duration {
	if e.token == nil || e.said == (said{reason: no.info.GetReason()}) {
		return no.after
	}
	return 0
}

func (e *entry) given(answer *brokerv1.AcquireTokenResponse) *brokerv1.WatchTokensResponse_Entry {
	m := &brokerv1.WatchTokensResponse_Entry{Selector: e.selector, Warning: answer.GetWarning()}
	if t := answer.GetAccessToken(); t != nil {
		m.Result = &brokerv1.WatchTokensResponse_Entry_AccessToken{AccessToken: t}
	} else {
		m.Result = &brokerv1.WatchTokensResponse_Entry_Password{Password: answer.GetPassword()}
	}
	return m
}

// refused puts a refusal into the words of an entry.
func (e *entry) refused(no *refusal) *brokerv1.WatchTokensResponse_Entry {
	f := &brokerv1.Failure{Code: int32(no.code), Reason: no.info.GetReason(), Remedy: no.info.GetMetadata()["remedy"],
		FailureClass: classes[remedy.Class(no.info.GetMetadata()["class"])]}
	if no.after > 0 {
		f.RetryDelay = durationpb.New(no.after)
	}
	return &brokerv1.WatchTokensResponse_Entry{Selector: e.selector, Result: &brokerv1.WatchTokensResponse_Entry_Failure{Failure: f}}
}
