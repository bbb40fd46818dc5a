// Package lockfile lets one process at a time use a folder.
package lockfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrHeld says that another process has the folder; the error that wraps it names folder and process.
var ErrHeld = errors.New("another process uses the folder")

// Take locks dir/lock until the returned file is closed, by the end of the process at the latest: kill -9 frees it too.
func Take(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 20)) // only to name it
		held := fmt.Errorf("%s is in use by process %s: %w", dir, strings.TrimSpace(string(holder)), ErrHeld)
		return nil, errors.Join(held, f.Close())
	}
	if _, err := f.WriteAt(fmt.Appendf(nil, "%-19d\n", os.Getpid()), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("write the lock: %w", err), f.Close())
	}
	return f, nil
}
