package fault

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// An Answer is a whole HTTP answer, made before anything is written, so that faults can spoil it.
type Answer struct {
	Status int
	Header http.Header // may be nil
	Body   []byte
}

// Serve answers a request as the rule wants; rule may be nil. answer makes the honest answer, or takes the step back.
func (r *Rule) Serve(w http.ResponseWriter, req *http.Request, answer func() Answer) {
	if r == nil {
		answer().write(w)
		return
	}
	switch r.Action {
	case Delay:
		Wait(req.Context(), r.Delay)
	case Stall:
		forsake(req)
	case Reset:
		resetHTTP(w)
		return
	case Reply:
		r.reply().write(w)
		return
	}
	a := answer()
	switch {
	case r.Action == HoldAnswer:
		forsake(req)
	case r.Action == LoseAnswer && r.Status != 0:
		r.reply().write(w)
	case r.Action == LoseAnswer:
		resetHTTP(w)
	case r.Action == Cut:
		a.cut(w, r.Bytes)
	default:
		a.write(w)
	}
}

// forsake waits until the client goes away or the server closes, and does not return: net/http would answer then, and looks
// out for the client only once the request is read.
func forsake(req *http.Request) {
	_, _ = io.Copy(io.Discard, req.Body) // an error means that the client is gone
	<-req.Context().Done()
	panic(http.ErrAbortHandler)
}

// reply is what the rule wants answered instead of the step.
func (r *Rule) reply() Answer {
	a := Answer{Status: r.Status, Header: http.Header{}, Body: []byte(r.Body)}
	if len(r.Body) > 0 && r.Body[0] == '{' {
		a.Header.Set("Content-Type", "application/json")
	}
	if r.RetryAfter > 0 {
		a.Header.Set("Retry-After", strconv.Itoa(int((r.RetryAfter+time.Second-1)/time.Second)))
	}
	for k, v := range r.Header {
		a.Header.Set(k, v)
	}
	return a
}

func (a Answer) head(w http.ResponseWriter) {
	for k, v := range a.Header {
		w.Header()[k] = v
	}
	if a.Status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	w.WriteHeader(a.Status)
}

func (a Answer) write(w http.ResponseWriter) {
	a.head(w)
	_, _ = w.Write(a.Body) // whoever hung up does not miss it
}

// cut announces the whole body and ends the connection after n bytes of it.
func (a Answer) cut(w http.ResponseWriter, n int) {
	a.head(w)
	_, _ = w.Write(a.Body[:min(n, len(a.Body))])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func resetHTTP(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // the connection is gone already: that was the aim
		panic(http.ErrAbortHandler)
	}
	ResetConn(c)
}
