package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"sync"
)

// receiver is the webhook's other end: it verifies the signature, keeps one copy for each Webhook-Id, and now and then
// takes a message without an answer, or refuses one for the time being.
type receiver struct {
	key []byte

	mu       sync.Mutex
	posts    int
	repeated int                // posts of what it had
	forged   int                // posts whose signature is wrong
	kept     map[string]arrived // by Webhook-Id
}

// arrived is one message at its destination.
type arrived struct {
	mailbox string
	sum     [sha256.Size]byte
}

// Out of so many posts one is taken without an answer, and one refused.
const (
	unanswered = 40
	refused    = 55
)

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the worker died on the way
	}
	id := req.Header.Get("Webhook-Id")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.posts++
	switch {
	case !r.genuine(id, req.Header, body):
		r.forged++
		w.WriteHeader(http.StatusUnauthorized)
		return
	case r.posts%refused == 0:
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if _, known := r.kept[id]; known {
		r.repeated++
	} else {
		r.kept[id] = arrived{req.Header.Get("Mailporter-Mailbox"), sha256.Sum256(body)}
	}
	if r.posts%unanswered == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusNoContent)
}

// genuine verifies as Standard Webhooks has it.
func (r *receiver) genuine(id string, h http.Header, body []byte) bool {
	mac := hmac.New(sha256.New, r.key)
	_, _ = io.WriteString(mac, id+"."+h.Get("Webhook-Timestamp")+".")
	_, _ = mac.Write(body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return hmac.Equal([]byte(h.Get("Webhook-Signature")), []byte(want))
}

// all is what arrived, and how often what had arrived came again.
func (r *receiver) all() (kept []arrived, repeated int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.kept {
		kept = append(kept, a)
	}
	return kept, r.repeated
}
