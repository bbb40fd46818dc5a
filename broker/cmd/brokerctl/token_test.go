package main

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func response(value string) *brokerv1.AcquireTokenResponse {
	return &brokerv1.AcquireTokenResponse{Credential: &brokerv1.AcquireTokenResponse_AccessToken{AccessToken: &brokerv1.AccessToken{
		Value: value, SaslUser: "a@contoso.com", Fingerprint: []byte{1, 2, 3, 4, 5, 6, 7}, ExpireTime: timestamppb.Now()}}}
}

func TestClaimsWithoutTheToken(t *testing.T) {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	jwt := part(`{"alg":"RS256"}`) + "." + part(`{"aud":"https://outlook.office365.com","roles":["IMAP.AccessAsApp","SMTP.SendAsApp"],"exp":1790000000,"aio":"MARKERtracking"}`) + ".MARKERsignature"
	for name, tc := range map[string]struct {
		value, output string
		want          []string
	}{
		"table":       {jwt, "table", []string{"aud                 https://outlook.office365.com", "roles               IMAP.AccessAsApp, SMTP.SendAsApp", "exp                 2026-09-21T", "broker.fingerprint  010203040506"}},
		"JSON":        {jwt, "json", []string{`"roles": [`, `"broker.sasl-user": "a@contoso.com"`}},
		"opaque":      {"ya29.MARKERsignature", "table", []string{"not readable", "a@contoso.com"}},
		"half a JWT":  {"a.b.MARKERsignature", "table", []string{"not readable"}},
		"JWT of null": {part("{}") + "." + part("null") + ".MARKERsignature", "table", []string{"not readable"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := (&target{output: tc.output}).claims(&out, response(tc.value)); err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out.String())
				}
			}
			if strings.Contains(out.String(), "MARKER") || strings.Contains(out.String(), part(`{"alg":"RS256"}`)) {
				t.Errorf("the token was printed:\n%s", out.String())
			}
		})
	}
}

func TestPasswordsHaveNoClaims(t *testing.T) {
	var out bytes.Buffer
	r := &brokerv1.AcquireTokenResponse{Credential: &brokerv1.AcquireTokenResponse_Password{Password: &brokerv1.Password{Value: "MARKER"}}}
	if err := (&target{}).claims(&out, r); err == nil || strings.Contains(out.String()+err.Error(), "MARKER") {
		t.Fatal(out.String(), err)
	}
}

func FuzzJWTPayload(f *testing.F) {
	for _, s := range []string{"a.b.c", "..", "e30.e30.e30", "ya29.x", "a.eyJhIjoxfQ.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if payload, ok := jwtPayload(s); ok && payload == nil {
			t.Fatal("no payload is one")
		}
	})
}
