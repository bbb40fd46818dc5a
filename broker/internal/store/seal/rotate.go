package seal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// ErrNothingToPromote says that the newest key of a keyset seals already.
var ErrNothingToPromote = errors.New("the newest key is the one that seals already")

// Add puts a new key into the keyset at path. It opens, but does not seal: brokers that do not have it yet could not read
// what it sealed.
func Add(path string) error {
	return rewrite(path, func(m *keyset.Manager, _ *keyset.Handle) error {
		_, err := m.Add(aead.AES256GCMKeyTemplate())
		return err
	})
}

// Promote makes the newest key the one that seals. All brokers must have it before.
func Promote(path string) error {
	return rewrite(path, func(m *keyset.Manager, h *keyset.Handle) error {
		newest, err := h.Entry(h.Len() - 1)
		if err != nil {
			return err
		}
		if newest.IsPrimary() {
			return ErrNothingToPromote
		}
		return m.SetPrimary(newest.KeyID())
	})
}

// rewrite changes the keyset and replaces the file, whole or not at all.
func rewrite(path string, change func(*keyset.Manager, *keyset.Handle) error) error {
	h, err := read(path)
	if err != nil {
		return err
	}
	m := keyset.NewManagerFromHandle(h)
	if err := change(m, h); err != nil {
		return fmt.Errorf("change keyset: %w", err)
	}
	changed, err := m.Handle()
	if err != nil {
		return fmt.Errorf("change keyset: %w", err)
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(changed, keyset.NewJSONWriter(&b)); err != nil {
		return fmt.Errorf("change keyset: %w", err)
	}
	return replace(path, b.Bytes())
}

func replace(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".keyset-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write keyset: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		return syncDir(filepath.Dir(path))
	}
	return errors.Join(fmt.Errorf("write keyset: %w", err), os.Remove(f.Name()))
}
