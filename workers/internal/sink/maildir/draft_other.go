//go:build !linux

package maildir

import (
	"errors"
	"os"
)

// nameless: files without a name are Linux's.
func nameless(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func nameIt(*os.File, string) error { return errors.ErrUnsupported }
