package serviceaccount_test

import (
	"log/slog"
	"testing"

	"mailporter/broker/internal/serviceaccount"
	"mailporter/broker/internal/serviceaccount/issuertest"
)

// BenchmarkVerify is what a token costs with every call: there is no memory of verified ones, so a key that the issuer
// withdrew is worth nothing at once.
func BenchmarkVerify(b *testing.B) {
	i := issuertest.Start(b)
	v, err := serviceaccount.New(serviceaccount.Config{Issuer: issuertest.Name, Audience: issuertest.Audience, Keys: i.URL, Roots: i.CA.Pool(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	token := i.Token(issuertest.Good())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := v.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
