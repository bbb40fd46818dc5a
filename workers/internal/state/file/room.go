package file

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// reserve is how much of the disk incoming mail leaves free, in bytes. What the database needs to send and settle mail fits into
// it many times over: on a disk filled to the last byte nothing could be sent any more, and so no room be made.
const reserve = 32 << 20

// room says whether the disk may take more mail.
func (s *Store) room() error {
	var disk unix.Statfs_t
	if err := unix.Statfs(s.dir, &disk); err != nil {
		return fmt.Errorf("look for room on the disk: %w", err)
	}
	if free := uint64(disk.Bavail) * uint64(disk.Bsize); free < s.reserve {
		return fmt.Errorf("the disk of %s has %d bytes left, and incoming mail leaves %d free: make room", s.dir, free, s.reserve)
	}
	return nil
}

// roomy writes as long as there is room.
type roomy struct {
	io.Writer
	room func() error
	left int // bytes until it looks again
}

const lookEvery = 1 << 20

// Write implements io.Writer.
func (w *roomy) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left <= 0 {
		if err := w.room(); err != nil {
			return 0, err
		}
		w.left = lookEvery
	}
	return w.Writer.Write(p)
}
