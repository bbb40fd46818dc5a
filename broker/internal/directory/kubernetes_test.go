package directory

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestKubernetes(t *testing.T) {
	const settings = "policy: policy.yaml\nmailboxes: [mailboxes.d/*.yaml]\nkubernetes: "
	for name, tc := range map[string]struct {
		options string
		want    Kubernetes
		problem string
	}{
		"the least": {"{issuer: 'https://api.example'}", Kubernetes{Issuer: "https://api.example", Audience: "mailporter-broker", Keys: "https://api.example/openid/v1/jwks"}, ""},
		"all": {"{issuer: 'https://api.example', audience: mail, jwks: 'https://api/keys', ca: ca.pem, token-file: token}",
			Kubernetes{"https://api.example", "mail", "https://api/keys", "DIR/ca.pem", "DIR/token"}, ""},
		"a file":             {"{issuer: 'https://api.example', jwks: policy.yaml}", Kubernetes{Issuer: "https://api.example", Audience: "mailporter-broker", Keys: "DIR/policy.yaml"}, ""},
		"no issuer":          {"{audience: a}", Kubernetes{}, "broker.yaml:3:13: kubernetes.issuer: is missing; kubectl get"},
		"issuer of http":     {"{issuer: 'http://api.example'}", Kubernetes{}, `kubernetes.issuer: "http://api.example" is not https`},
		"keys of http":       {"{issuer: 'https://a', jwks: 'http://api.example'}", Kubernetes{}, `kubernetes.jwks: "http://api.example" is not https`},
		"no such file":       {"{issuer: 'https://a', jwks: none.json}", Kubernetes{}, "kubernetes.jwks: stat"},
		"a file and a CA":    {"{issuer: 'https://a', jwks: policy.yaml, ca: x}", Kubernetes{}, "kubernetes.ca: has no effect"},
		"a file and a token": {"{issuer: 'https://a', jwks: policy.yaml, token-file: x}", Kubernetes{}, "kubernetes.token-file: has no effect"},
		"empty audience":     {"{issuer: 'https://a', audience: ''}", Kubernetes{}, "kubernetes.audience: is empty"},
		"unknown":            {"{issuer: 'https://a', keys: x}", Kubernetes{}, "kubernetes.keys: is no known option"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.write("broker.yaml", settings+tc.options+"\n")
			c, complaints := s.load("mailboxes: []")
			if tc.problem != "" {
				if !strings.Contains(complaints.Error(), tc.problem) {
					t.Fatalf("want %q in\n%v", tc.problem, complaints)
				}
				return
			}
			if err := complaints.Err(); err != nil {
				t.Fatal(err)
			}
			for _, p := range []*string{&tc.want.Keys, &tc.want.CA, &tc.want.TokenFile} {
				*p = strings.Replace(*p, "DIR", s.dir, 1)
			}
			if c.Kubernetes != tc.want {
				t.Fatalf("%+v, want %+v", c.Kubernetes, tc.want)
			}
		})
	}
	if c := newSite(t).good("mailboxes: []"); c.Kubernetes != (Kubernetes{}) || filepath.IsAbs(c.Kubernetes.CA) {
		t.Fatal("on by itself")
	}
}
