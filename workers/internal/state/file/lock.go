package file

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// lock takes the folder for this process until the file is closed, by its end at the latest.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the state's lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 20)) // only to name it
		return nil, errors.Join(fmt.Errorf("%s is in use by process %s: a folder serves one worker; give each its own, or use redis://",
			path, strings.TrimSpace(string(holder))), f.Close())
	}
	if _, err := f.WriteAt(fmt.Appendf(nil, "%-19d\n", os.Getpid()), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("write the state's lock: %w", err), f.Close())
	}
	return f, nil
}
