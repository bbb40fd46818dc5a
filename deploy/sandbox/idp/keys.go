package idp

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keys are what tokens are made with. Those of a folder outlive the process, and so do the tokens.
type keys struct {
	sign *rsa.PrivateKey
	// id names the signing key in JWT headers and the key set.
	id string
	// seal is the AES-256 key of opaque tokens.
	seal []byte
	// deployment tells tokens of one sandbox from those of another that happens to share the signing key.
	deployment string
	// filler brings access tokens to the size of real ones: clients must cope with 1.5 to 2 kB.
	filler string
}

type keyFile struct {
	Sign       []byte `json:"sign"`
	Seal       []byte `json:"seal"`
	Deployment string `json:"deployment"`
}

func openKeys(dir string) (keys, error) {
	if dir == "" {
		return freshKeys(processKey)
	}
	path := filepath.Join(dir, "identity-keys.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKeys(dir, path)
	}
	if err != nil {
		return keys{}, err
	}
	return parseKeys(b)
}

func freshKeys(make func() (*rsa.PrivateKey, error)) (keys, error) {
	sign, err := make()
	if err != nil {
		return keys{}, err
	}
	seal := randomBytes(32)
	return newKeys(sign, seal, strings.ToLower(rand.Text())), nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // crypto/rand.Read never returns an error
	return b
}

func newKeys(sign *rsa.PrivateKey, seal []byte, deployment string) keys {
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(&sign.PublicKey))
	return keys{
		sign: sign, id: b64.EncodeToString(sum[:20]), seal: seal, deployment: deployment,
		filler: b64.EncodeToString(randomBytes(330)),
	}
}

func parseKeys(b []byte) (keys, error) {
	var f keyFile
	if err := json.Unmarshal(b, &f); err != nil {
		return keys{}, err
	}
	sign, err := x509.ParsePKCS1PrivateKey(f.Sign)
	if err != nil {
		return keys{}, err
	}
	return newKeys(sign, f.Seal, f.Deployment), nil
}

func makeKeys(dir, path string) (keys, error) {
	k, err := freshKeys(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	if err != nil {
		return keys{}, err
	}
	b, err := json.Marshal(keyFile{Sign: x509.MarshalPKCS1PrivateKey(k.sign), Seal: k.seal, Deployment: k.deployment})
	if err != nil {
		return keys{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return keys{}, err
	}
	return k, writeFile(path, b)
}

// writeFile replaces a file so that a crash leaves either the old one or the new one.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, werr := f.Write(b)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}
