package graph

import (
	"net/http"

	"mailporter/kit/tokenclient"
)

// authorize puts the token into a request: RFC 6750 section 2.1. It is the only place that reveals it.
func authorize(r *http.Request, t tokenclient.Token) {
	r.Header.Set("Authorization", "Bearer "+t.Value.Reveal())
}
