package wire

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"mailporter/broker/internal/clock"
)

func TestReadsTheProvidersClock(t *testing.T) {
	const date = "Tue, 06 Jan 2026 09:30:00 GMT"
	for name, tc := range map[string]struct {
		header map[string]string
		status int
		heard  int
	}{
		"token":      {map[string]string{"Date": date}, http.StatusOK, 1},
		"refusal":    {map[string]string{"Date": date}, http.StatusBadRequest, 1},
		"from cache": {map[string]string{"Date": date, "Age": "60"}, http.StatusOK, 0},
		"no date":    {map[string]string{"Date": "yesterday"}, http.StatusOK, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var heard []clock.Reading
			s, c := serve(t, Options{Clock: func(r clock.Reading) { heard = append(heard, r) }}, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range tc.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(tc.status)
				fmt.Fprint(w, `{"access_token":"t","token_type":"Bearer","expires_in":100}`)
			})
			before := time.Now()
			_, _ = exchangeWith(t.Context(), c, s.URL, anyHost) // whatever came of it
			if len(heard) != tc.heard {
				t.Fatalf("heard %v", heard)
			}
			for _, r := range heard {
				if r.Told.Format(http.TimeFormat) != date || r.Resolution != time.Second || r.Sent.Before(before) || r.Received.Before(r.Sent) {
					t.Errorf("heard %v", r)
				}
			}
		})
	}
}
