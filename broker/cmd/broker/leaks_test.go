package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"software.sslmate.com/src/go-pkcs12"

	"mailporter/broker/internal/serviceaccount/issuertest"
	"mailporter/kit/certtest"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// parrot is the worst that a provider can do: it repeats what it was sent, in an answer that the broker cannot use.
type parrot struct {
	*httptest.Server
	mu    sync.Mutex
	heard strings.Builder
}

// squawks are the ways to repeat a request.
var squawks = map[string]func(w http.ResponseWriter, request string){
	"refusal": func(w http.ResponseWriter, request string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": "invalid_request", "error_description": "AADSTS900144: " + request, "trace_id": request, "correlation_id": request, "suberror": request})
	},
	"error page": func(w http.ResponseWriter, request string) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "<html>"+request)
	},
	"half a token": func(w http.ResponseWriter, request string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token": %q, "expires_in": "soon", "token_type": %q}`, request, request)
	},
	"redirect": func(w http.ResponseWriter, request string) {
		w.Header().Set("Location", "https://localhost:1/?"+request)
		w.WriteHeader(http.StatusTemporaryRedirect)
	},
	"headers": func(w http.ResponseWriter, request string) {
		for _, h := range []string{"Retry-After", "WWW-Authenticate", "x-ms-request-id", "client-request-id", "Date"} {
			w.Header().Set(h, request)
		}
		w.WriteHeader(http.StatusTooManyRequests)
	},
}

func newParrot(t *testing.T, ca *certtest.CA, squawk func(http.ResponseWriter, string)) *parrot {
	t.Helper()
	pair, err := ca.Issue(certtest.Options{CommonName: "parrot", DNS: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	p := &parrot{}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "openid-configuration"):
			base := "https://" + r.Host + "/" + tenant
			_ = json.NewEncoder(w).Encode(map[string]string{"token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "issuer": base + "/v2.0"})
			return
		case strings.Contains(strings.ToLower(r.URL.Path), "userrealm"):
			_, _ = io.WriteString(w, `{"ver":"1.0","account_type":"Managed","domain_name":"contoso.example","cloud_instance_name":"x","cloud_audience_urn":"urn"}`)
			return
		}
		if err := r.ParseForm(); err != nil {
			return
		}
		var request strings.Builder
		for name, values := range r.PostForm {
			request.WriteString(name + " is " + strings.Join(values, " ") + " ")
		}
		p.mu.Lock()
		p.heard.WriteString(request.String())
		p.mu.Unlock()
		squawk(w, request.String())
	}))
	p.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

func (p *parrot) authority() string {
	_, port, _ := net.SplitHostPort(p.Listener.Addr().String())
	return "https://localhost:" + port
}

// everyKind is a mailbox for each kind of secret. N makes the names differ from one parrot to the next.
const everyKind = `
applications:
  echo-N: {directory-id: TENANT, client-id: echo-N, tenant-authority: "AUTHORITY", scope: "https://outlook.office365.com/.default"}
  google-N: {tenant-authority: "AUTHORITY/google", client-id: google-N}
secret-N: {password: {file: ../secrets/kind-google-client}}
mailboxes:
  - {address: secret-N@contoso.example, application: echo-N, grant-type: client_credentials, secrets: [{file: ../secrets/kind-secret}], pop-client: {}}
  - {address: pfx-N@contoso.example, application: echo-N, grant-type: client_credentials, certificates: [{pfx: ../secrets/kind.pfx, password: {file: ../secrets/kind-pfx}}], pop-client: {}}
  - {address: pem-N@contoso.example, application: echo-N, grant-type: client_credentials, certificate: ../secrets/kind.pem, key: ../secrets/kind.key, pop-client: {}}
  - {address: federated-N@contoso.example, application: echo-N, grant-type: client_credentials, federated-token-file: ../secrets/kind-federated, pop-client: {}}
  - {address: password-N@contoso.example, application: echo-N, password: {file: ../secrets/kind-password}, pop-client: {}}
  - {address: refresh-N@contoso.example, application: echo-N, grant-type: refresh_token, password: {file: ../secrets/kind-refresh}, pop-client: {}}
  - {address: google-N@contoso.example, application: google-N, secret: N, password: {file: ../secrets/kind-google-refresh}, pop-client: {}}
  - {address: account-N@contoso.example, tenant-authority: "AUTHORITY/google", service-account-key: {file: ../secrets/kind-account.json}, pop-client: {}}
`

var kinds = []string{"secret", "pfx", "pem", "federated", "password", "refresh", "google", "account"}

// plant writes a secret of every kind and returns what must be found nowhere, but for what has MARKER in it.
func (s *site) plant() (secrets []string) {
	s.t.Helper()
	for _, name := range []string{"secret", "pfx", "federated", "password", "refresh", "google-client", "google-refresh"} {
		s.write("secrets/kind-"+name, "MARKER-kind-"+name)
	}
	s.certify("kind", 90*24*time.Hour)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kind"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	pfx, err := pkcs12.Modern.Encode(key, leaf, nil, "MARKER-kind-pfx")
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("secrets/kind.pfx", string(pfx))
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	account, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "porter@project.example", "client_id": "1", "private_key_id": "k1", "private_key": text})
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("secrets/kind-account.json", string(account))
	for _, text := range []string{text, s.read("secrets/kind.key")} {
		secrets = append(secrets, strings.Split(text, "\n")[3])
	}
	return secrets
}

// shapes are secrets that are made on the way: assertions and JWTs, and keys in PEM.
var shapes = regexp.MustCompile(`eyJ[\w-]{16,}\.[\w-]{16,}|PRIVATE KEY`)

// TestNoSecretOfAnyKindGetsOut plants a secret of every kind, lets providers repeat them in every way, and looks for them in
// all that the broker and brokerctl print, log, count, write and answer.
func TestNoSecretOfAnyKindGetsOut(t *testing.T) {
	i := issuertest.Start(t)
	s := clusterSite(t, i)
	s.write("policy.yaml", policy+operatorRule)
	secrets := s.plant()
	echo, err := certtest.NewCA("parrots")
	if err != nil {
		t.Fatal(err)
	}
	s.write("provider.pem", s.read("provider.pem")+string(echo.PEM()))
	var hosts []string
	parrots := map[string]*parrot{}
	n := 0
	for name, squawk := range squawks {
		p := newParrot(t, echo, squawk)
		parrots[name] = p
		hosts = append(hosts, strings.TrimPrefix(p.authority(), "https://"))
		n++
		s.write(fmt.Sprintf("mailboxes.d/parrot%d.yaml", n), strings.NewReplacer("TENANT", tenant, "AUTHORITY", p.authority(), "-N", fmt.Sprint("-", n), "secret: N", fmt.Sprint("secret: ", n)).Replace(everyKind))
	}
	s.write("broker.yaml", strings.Replace(s.read("broker.yaml"), "allowed-authorities: [", `allowed-authorities: ["`+strings.Join(hosts, `", "`)+`", `, 1))
	s.level = "debug"
	s.start()

	printed := s.provoke(n, i)
	for name, p := range parrots {
		for _, want := range []string{"kind-secret", "kind-federated", "kind-password", "kind-refresh", "kind-google-client", "kind-google-refresh", "client_assertion is eyJ", "assertion is eyJ"} {
			if !strings.Contains(p.heard.String(), want) {
				t.Errorf("%s: the parrot never heard %s", name, want)
			}
		}
	}
	printed["metrics"] = s.metrics()
	s.end()
	printed["log"] = s.out.String()
	printed["check"] = s.checkBroken()
	var keyset struct {
		Key []struct{ KeyData struct{ Value string } }
	}
	if err := json.Unmarshal([]byte(s.read("secrets/keyset.json")), &keyset); err != nil || len(keyset.Key) == 0 {
		t.Fatalf("no key in the keyset: %v", err)
	}
	secrets = append(secrets, "MARKER", keyset.Key[0].KeyData.Value)
	for name, b := range s.files() {
		if name != "secrets/keyset.json" && !strings.HasPrefix(name, "tls/") && !strings.HasPrefix(name, "mailboxes.d/") {
			printed["file "+name] = string(b)
		}
	}
	for where, text := range printed {
		for _, secret := range secrets {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s holds a secret: …%.120s", where, text[max(0, at-80):])
			}
		}
		if m := shapes.FindStringIndex(text); m != nil {
			t.Errorf("%s holds a token or a key: …%.100s", where, text[max(0, m[0]-80):m[0]+8])
		}
	}
	for _, where := range []string{"file audit.jsonl", "log", "metrics", "check", "brokerctl"} {
		if len(printed[where]) == 0 {
			t.Errorf("%s: the search looked at nothing", where)
		}
	}
}

// provoke asks for every kind of secret at each of n parrots, shows good and bad tokens of callers, and runs every command of
// brokerctl. It returns what callers and operators were told.
func (s *site) provoke(n int, i *issuertest.Issuer) map[string]string {
	s.t.Helper()
	c := s.connect(worker)
	var told, shown strings.Builder
	for p := range n {
		for _, kind := range kinds {
			address := fmt.Sprintf("%s-%d@contoso.example", kind, p+1)
			for range 2 {
				_, err := ask(c, address, in)
				if err == nil {
					s.t.Errorf("%s got a token of a parrot", address)
				}
				fmt.Fprintf(&told, "%v %+v %s\n", err, err, status.Convert(err).Proto())
			}
			for _, args := range [][]string{{"mailbox", "status", address, "-o", "json"}, {"mailbox", "check", address}} {
				_, out := s.brokerctl(args...)
				shown.WriteString(out)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := c.ReportRejection(ctx, &brokerv1.ReportRejectionRequest{Selector: &brokerv1.Selector{Mailbox: "app@contoso.example", Direction: in}, Fingerprint: make([]byte, 32),
		Kind: brokerv1.RejectionKind_REJECTION_KIND_CLAIMS_CHALLENGE, Reply: "535 MARKER", Claims: "MARKER"}); err != nil {
		s.t.Error(err)
	}
	for _, token := range []string{i.Token(issuertest.Good()), i.Token(issuertest.Good().With("exp", 1)), i.Token(issuertest.Good().With("aud", "x")), "MARKER.MARKER.MARKER", "MARKER"} {
		ctx := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		_, err := s.connect("").AcquireToken(ctx, &brokerv1.AcquireTokenRequest{Selector: &brokerv1.Selector{Mailbox: "app@contoso.example", Direction: in}})
		fmt.Fprintln(&told, err, status.Convert(err).Proto())
	}
	if _, err := ask(c, "app@contoso.example", in); err != nil {
		s.t.Error(reason(err))
	}
	for _, args := range [][]string{
		{"mailbox", "list"}, {"mailbox", "list", "-o", "json"}, {"mailbox", "reset", "password-1@contoso.example"}, {"token", "inspect", "app@contoso.example"},
		{"token", "inspect", "app@contoso.example", "-o", "json"}, {"token", "inspect", "basic@contoso.example", "--side", "out"}, {"token", "inspect", "pfx-1@contoso.example"},
		{"policy", "test", filepath.Join(s.dir, "policy.yaml"), "--identity", worker, "--mailbox", "app@contoso.example"},
		{"keyset", "rotate", filepath.Join(s.dir, "secrets/keyset.json")}, {"keyset", "rotate", "--promote", filepath.Join(s.dir, "secrets/kind-secret")},
		{"keyset", "rotate", filepath.Join(s.dir, "secrets/kind-secret")},
	} {
		_, out := s.brokerctl(args...)
		shown.WriteString(out)
	}
	return map[string]string{"errors": told.String(), "brokerctl": shown.String()}
}

// checkBroken is what -check says about configurations with secrets in the wrong shape and place.
func (s *site) checkBroken() string {
	s.t.Helper()
	var printed strings.Builder
	broken := map[string]string{
		"secrets in the file": "mailboxes: [{address: a@b.c, pop-client: {type: IMAP, server: s, password: MARKER-literal}}]",
		"a list of secrets":   "mailboxes: [{address: a@b.c, pop-client: {type: IMAP, server: s, password: [MARKER-literal]}}]",
		"nested":              "mailboxes: [{address: a@b.c, pop-client: {type: IMAP, server: s, password: {value: MARKER-literal}}}]",
		"not YAML":            "mailboxes: [{address: a@b.c, password: 'MARKER-literal",
		"twice":               "mailboxes: [{address: a@b.c, password: MARKER-one, password: MARKER-two, pop-client: {type: IMAP, server: s}}]",
		"a wrong PFX":         "mailboxes: [{address: a@b.c, directory-id: d, client-id: c, grant-type: client_credentials, certificates: [{pfx: ../secrets/kind.pfx, password: {file: ../secrets/kind-secret}}], pop-client: {type: GRAPH}}]",
		"no PFX":              "mailboxes: [{address: a@b.c, directory-id: d, client-id: c, grant-type: client_credentials, certificates: [{pfx: ../secrets/kind-secret, password: {file: ../secrets/kind-pfx}}], pop-client: {type: GRAPH}}]",
		"keys for a pair":     "mailboxes: [{address: a@b.c, directory-id: d, client-id: c, grant-type: client_credentials, certificate: ../secrets/kind.key, key: ../secrets/kind-secret, pop-client: {type: GRAPH}}]",
		"no account":          "mailboxes: [{address: a@b.c, tenant-authority: google, service-account-key: {file: ../secrets/kind-secret}, pop-client: {type: IMAP}}]",
		"an environment":      "mailboxes: [{address: a@b.c, pop-client: {type: IMAP, server: s, password: {env: MAILPORTER_TEST_NONE}}}]",
	}
	for name, text := range broken {
		s.write("mailboxes.d/broken.yaml", text+"\n")
		out := newOutput()
		if code := newApp().Execute(context.Background(), []string{"-config", filepath.Join(s.dir, "broker.yaml"), "-check"}, out, out); code != 1 && name != "secrets in the file" {
			s.t.Errorf("%s: exit %d\n%s", name, code, out.String())
		}
		printed.WriteString(out.String())
	}
	settings := s.read("broker.yaml")
	s.write("mailboxes.d/broken.yaml", "mailboxes: []\n")
	for _, store := range []string{"redis://:MARKER@", "redis://user:MARKER@h:x/0", "http://:MARKER@h"} {
		s.write("broker.yaml", strings.Replace(settings, "store: file:state", "store: '"+store+"'", 1))
		out := newOutput()
		newApp().Execute(context.Background(), []string{"-config", filepath.Join(s.dir, "broker.yaml"), "-check"}, out, out)
		printed.WriteString(out.String())
	}
	s.write("broker.yaml", settings)
	return printed.String()
}
