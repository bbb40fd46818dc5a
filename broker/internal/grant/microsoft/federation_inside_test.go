package microsoft

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"mailporter/broker/internal/grant/wire"
	"mailporter/broker/internal/remedy"
)

func TestAnAssertionIsRedeemedWithoutThePassword(t *testing.T) {
	all := url.Values{"username": {"u"}, "password": {"p&+="}, "client_id": {"c"}, "assertion": {"a+/="}, "scope": {"s t"}}
	for name, tc := range map[string]struct {
		grant string
		kept  bool
	}{
		"SAML 1.1": {"urn:ietf:params:oauth:grant-type:saml1_1-bearer", false},
		"SAML 2.0": {"urn:ietf:params:oauth:grant-type:saml2-bearer", false},
		"password": {"password", true},
	} {
		t.Run(name, func(t *testing.T) {
			all.Set("grant_type", tc.grant)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://login.example/token", strings.NewReader(all.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
			if err := spare(r); err != nil {
				t.Fatal(err)
			}
			again, err := r.GetBody()
			if err != nil {
				t.Fatal(err)
			}
			for _, body := range []io.Reader{r.Body, again} {
				text, err := io.ReadAll(body)
				if err != nil || int64(len(text)) != r.ContentLength {
					t.Fatalf("%d bytes, %d told: %v", len(text), r.ContentLength, err)
				}
				form, err := url.ParseQuery(string(text))
				if err != nil || form.Has("password") != tc.kept || form.Has("username") != tc.kept || form.Get("assertion") != "a+/=" || form.Get("scope") != "s t" || form.Get("client_id") != "c" {
					t.Errorf("%v %v", form, err)
				}
			}
		})
	}
}

func TestOtherRequestsStayAsTheyAre(t *testing.T) {
	const soap = "<s:Envelope>password=p&grant_type=urn:ietf:params:oauth:grant-type:saml2-bearer</s:Envelope>"
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://fed.example/trust", strings.NewReader(soap))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/soap+xml; charset=utf-8")
	if err := spare(r); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(r.Body); err != nil || string(text) != soap {
		t.Errorf("%s %v", text, err)
	}
}

// FuzzFederationAnswer: whatever a federation server answers, the fault says who must act, and nothing of the answer but a
// word of letters gets into it.
func FuzzFederationAnswer(f *testing.F) {
	f.Add(500, []byte(`<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>a:FailedAuthentication</s:Value></s:Subcode></s:Code></s:Fault></s:Body></s:Envelope>`))
	f.Add(500, []byte(`<Envelope><Body><Fault><Code><Value>Receiver</Value></Code></Fault></Body></Envelope>`))
	f.Add(200, []byte(`<definitions/>`))
	f.Add(404, []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if code := faultCode(body); len(code) > 64 || strings.ContainsFunc(code, func(r rune) bool { return !('A' <= r && r <= 'Z' || 'a' <= r && r <= 'z') }) {
			t.Fatalf("code %q", code)
		}
		f := federationFault(wire.Seen{Host: "fed.example", Status: status, Body: body}, remedy.About{User: "agent@fed.example"})
		if f.Class == "" || f.Reason == "" || !strings.Contains(f.Remedy, "must") {
			t.Fatalf("%+v", f)
		}
	})
}
