package seal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset" // the file is the secret: its mode is 0600
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Sealer seals and names. Any number of goroutines may use it.
type Sealer struct {
	aead  tink.AEAD
	names []byte // key of the HMAC that names cached tokens
}

// Open reads the keyset at path.
func Open(path string) (*Sealer, error) {
	h, err := read(path)
	if err != nil {
		return nil, err
	}
	return fromHandle(h, path)
}

func read(path string) (*keyset.Handle, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read keyset: %w", err)
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(b)))
	if err != nil {
		return nil, fmt.Errorf("%s is no Tink keyset in JSON", path) // the library's error may quote the file
	}
	return h, nil
}

// OpenOrMake is Open, but makes a keyset first if there is none: for a store that only this process uses.
func OpenOrMake(path string) (*Sealer, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := Make(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return Open(path)
}

// Make writes a new keyset with one AES-256-GCM key, mode 0600, whole or not at all. It never replaces one: what was
// sealed with it would be lost.
func Make(path string) error {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("make keyset: %w", err)
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b)); err != nil {
		return fmt.Errorf("make keyset: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make keyset: %w", err)
	}
	return writeNew(path, b.Bytes())
}

// writeNew writes beside path, syncs, and links: a link fails where a rename would replace.
func writeNew(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".keyset-*") // mode 0600
	if err != nil {
		return fmt.Errorf("make keyset: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("make keyset: %w", err)
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func fromHandle(h *keyset.Handle, path string) (*Sealer, error) {
	a, err := aead.New(h)
	if err != nil {
		return nil, fmt.Errorf("%s is no keyset of AEAD keys", path)
	}
	return &Sealer{aead: a, names: nameKey(h)}, nil
}

// nameKey is derived from the primary key. A rotated keyset gives cached tokens other names, which costs a request each;
// records, whose loss would cost people's consent, are named without it.
func nameKey(h *keyset.Handle) []byte {
	set := insecurecleartextkeyset.KeysetMaterial(h)
	sum := sha256.New()
	sum.Write([]byte("mailporter names of cached tokens\x00"))
	for _, k := range set.GetKey() {
		if k.GetKeyId() == set.GetPrimaryKeyId() {
			sum.Write(k.GetKeyData().GetValue())
		}
	}
	return sum.Sum(nil)
}
