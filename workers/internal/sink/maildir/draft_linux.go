package maildir

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix" // O_TMPFILE and linkat, which the standard library does not reach
)

// ours are this process's open files, by which a file without a name is reached.
const ours = "/proc/self/fd"

var procMounted = sync.OnceValue(func() bool {
	_, err := os.Stat(ours)
	return err == nil
})

// nameless makes a file without a name in a folder: open(2), O_TMPFILE. Not every file system has it.
func nameless(folder string) (*os.File, error) {
	if !procMounted() {
		return nil, errors.ErrUnsupported
	}
	fd, err := unix.Open(folder, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), folder), nil
}

// nameIt gives it a name, unless there is one like it: without rights of root only by way of /proc.
func nameIt(f *os.File, path string) error {
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("%s/%d", ours, f.Fd()), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
}
