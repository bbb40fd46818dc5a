package ews

import (
	"net/http"

	"mailporter/kit/tokenclient"
)

// authorize puts the credential into a request. It is the only place that reveals it.
func authorize(r *http.Request, t tokenclient.Token) {
	if t.IsPassword() {
		r.SetBasicAuth(t.User, t.Value.Reveal()) // Exchange on premises
		return
	}
	r.Header.Set("Authorization", "Bearer "+t.Value.Reveal())
}
