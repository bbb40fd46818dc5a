package outbound

import (
	"errors"
	"net/http"
	"net/netip"
)

// Operate adds the outbox's pages to an admin server: what waits and why, and what an operator may do about it.
//
//	GET /outbox              the messages that are not sent; see Listing
//	GET /outbox/{id}         one of them
//	POST /outbox/{id}/retry  tries it again now
//	DELETE /outbox/{id}      removes it
func Operate(handle func(pattern string, h http.Handler), o Outbox, b *Board) {
	handle("GET /outbox", Listing(o, b))
	handle("GET /outbox/{id}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, err := o.Get(r.Context(), r.PathValue("id"))
		if err != nil {
			refuse(w, err)
			return
		}
		writeJSON(w, toListed([]Status{m}, b)[0])
	}))
	change := func(do func(*http.Request) error) http.Handler {
		return operatorsOnly(func(w http.ResponseWriter, r *http.Request) {
			if err := do(r); err != nil {
				refuse(w, err)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
	handle("POST /outbox/{id}/retry", change(func(r *http.Request) error { return o.Retry(r.Context(), r.PathValue("id")) }))
	handle("DELETE /outbox/{id}", change(func(r *http.Request) error { return o.Drop(r.Context(), r.PathValue("id")) }))
}

// OperatorHeader is what a request that changes something must carry. A browser sends no such header to a site that did
// not allow it, so a page that somebody looks at on the same machine cannot drop mail.
const OperatorHeader = "Mailporter-Operator"

// operatorsOnly lets requests from this machine through: the admin server is often open to whatever collects metrics.
func operatorsOnly(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		switch {
		case err != nil || !from.Addr().Unmap().IsLoopback():
			http.Error(w, "changes are taken from this machine only: run brokerctl beside the worker, or through kubectl port-forward", http.StatusForbidden)
		case r.Header.Get(OperatorHeader) == "":
			http.Error(w, "the header "+OperatorHeader+" is missing: use brokerctl outbox", http.StatusForbidden)
		default:
			h(w, r)
		}
	})
}

func refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, ErrNone):
		http.Error(w, ErrNone.Error(), http.StatusNotFound)
	case errors.Is(err, ErrClaimed):
		http.Error(w, ErrClaimed.Error(), http.StatusConflict)
	default:
		http.Error(w, "the outbox does not answer: "+oneLine(err), http.StatusServiceUnavailable)
	}
}
