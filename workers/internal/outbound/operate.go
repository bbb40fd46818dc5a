package outbound

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Operate adds the outbox's pages to an admin server: what waits and why, and what an operator may do about it.
//
//	GET /outbox              the messages that are not sent; see Listing
//	GET /outbox/{id}         one of them
//	POST /outbox/{id}/retry  tries it again now
//	DELETE /outbox/{id}      removes it
//
// They name correspondents, so all of them are for this machine only.
func Operate(handle func(pattern string, h http.Handler), o Outbox, b *Board) {
	handle("GET /outbox", hereOnly(Listing(o, b)))
	handle("GET /outbox/{id}", hereOnly(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, err := o.Get(r.Context(), r.PathValue("id"))
		if err != nil {
			refuse(w, err)
			return
		}
		writeJSON(w, toListed([]Status{m}, b)[0])
	})))
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

// hereOnly lets requests from this machine through: the admin server is often open to whatever collects metrics. A name in
// place of an address is a page in a browser on this machine, whose site has that name lead here (DNS rebinding): to such a
// page, whatever it asks for is its own.
func hereOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		switch {
		case err != nil || !from.Addr().Unmap().IsLoopback():
			http.Error(w, "the outbox is shown to this machine only: run brokerctl beside the worker, or through kubectl port-forward", http.StatusForbidden)
		case !isAddress(r.Host):
			http.Error(w, "the outbox is shown under an address, not under a name: give brokerctl 127.0.0.1 or localhost", http.StatusForbidden)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// isAddress says whether a Host, with a port or without, is an IP address or localhost.
func isAddress(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}

// operatorsOnly lets requests through that no page in a browser sends.
func operatorsOnly(h http.HandlerFunc) http.Handler {
	return hereOnly(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(OperatorHeader) == "" {
			http.Error(w, "the header "+OperatorHeader+" is missing: use brokerctl outbox", http.StatusForbidden)
			return
		}
		h(w, r)
	}))
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
