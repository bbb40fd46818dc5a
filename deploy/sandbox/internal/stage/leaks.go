package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// tokens are the shapes of access tokens: Google's, and signed JWTs, which assertions and the tokens of callers are as well.
var tokens = regexp.MustCompile(`ya29\.[\w-]{20,}|eyJ[\w-]{20,}\.[\w-]{20,}\.[\w-]{20,}`)

// keys begins every private key in PEM.
var keys = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----`)

// material is what makes a secret file secret where it holds more than one value: the keys of a keyset, the lines of a PEM file.
var material = regexp.MustCompile(`[A-Za-z0-9+/_=-]{40,}`)

// Leaks looks for the run's secrets, and for anything of the shape of an access token or a private key, in everything that the programs
// wrote into the folder and in the given pages. It names the place, never the secret. Left out is what must hold secrets:
// the secrets themselves, the provider's own files, and mail.
func (f Folder) Leaks(ctx context.Context, pages []string) error {
	secrets, err := f.planted()
	if err != nil {
		return err
	}
	var found []error
	judge := func(place string, content []byte) {
		for name, secret := range secrets {
			if bytes.Contains(content, secret) {
				found = append(found, fmt.Errorf("the secret %s stands in %s", name, place))
			}
		}
		if tokens.Match(content) {
			found = append(found, fmt.Errorf("an access token stands in %s", place))
		}
		if keys.Match(content) {
			found = append(found, fmt.Errorf("a private key stands in %s", place))
		}
	}
	err = filepath.WalkDir(string(f), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || f.mayHoldSecrets(path) {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil {
			judge(path, content)
		}
		return err
	})
	for _, url := range pages {
		content, perr := fetch(ctx, url)
		err = errors.Join(err, perr)
		judge(url, content)
	}
	return errors.Join(append(found, err)...)
}

// planted are the run's secrets by name.
func (f Folder) planted() (map[string][]byte, error) {
	entries, err := os.ReadDir(f.Path("secrets"))
	if err != nil {
		return nil, err
	}
	secrets := map[string][]byte{}
	for _, e := range entries {
		b, err := os.ReadFile(f.Path("secrets/" + e.Name()))
		if err != nil {
			return nil, err
		}
		secrets[e.Name()] = bytes.TrimSpace(b)
		for i, part := range material.FindAll(b, -1) {
			secrets[fmt.Sprintf("%s, part %d", e.Name(), i+1)] = part
		}
	}
	return secrets, nil
}

func (f Folder) mayHoldSecrets(path string) bool {
	name, err := filepath.Rel(string(f), path)
	if err != nil {
		return false
	}
	top, _, _ := strings.Cut(name, string(filepath.Separator))
	return top == "secrets" || top == "tls" || top == "mail" || strings.HasPrefix(top, "sandbox")
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return b, err
}
