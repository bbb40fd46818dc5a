package mailstore

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// blob is where the bytes of a message are.
type blob interface {
	size() int64
	bytes() ([]byte, error)
}

type memory []byte

func (m memory) size() int64            { return int64(len(m)) }
func (m memory) bytes() ([]byte, error) { return m, nil }

// section is a piece of the journal: bodies stay on the disk, so that a full store does not fill the memory.
type section struct {
	file   *os.File
	off, n int64
}

func (s section) size() int64 { return s.n }

func (s section) bytes() ([]byte, error) {
	b := make([]byte, s.n)
	if _, err := s.file.ReadAt(b, s.off); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return b, nil
}

// A journal is a file of entries: 12 bytes of header (length of the JSON record, length of the body, CRC-32 of both;
// big endian), the record, the body. Entries are only ever added at the end.
type journal struct {
	file *os.File
	end  int64
}

const (
	headSize = 12
	// maxRecord is far above any record that is written; a length above it is garbage.
	maxRecord = 64 << 20
	maxBody   = 1 << 30
)

// errTorn marks an entry that was not written to its end: the process died before anybody was told it was safe.
var errTorn = errors.New("torn entry")

func openJournal(dir string, apply func(*record, blob) error) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "mail.journal"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{file: f}
	if err := j.open(dir, apply); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

func (j *journal) open(dir string, apply func(*record, blob) error) error {
	if err := syscall.Flock(int(j.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%s is in use by another process: %w", j.file.Name(), err)
	}
	if err := j.replay(apply); err != nil {
		return err
	}
	// What is behind the last whole entry was never acknowledged; left there, it would spoil the next one.
	if err := j.file.Truncate(j.end); err != nil {
		return err
	}
	return errors.Join(j.sync(), syncDir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (j *journal) replay(apply func(*record, blob) error) error {
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	for j.end < info.Size() {
		r, body, next, err := readEntry(j.file, j.end, info.Size())
		if errors.Is(err, errTorn) {
			return nil
		}
		if err != nil {
			return err
		}
		body.file = j.file
		if err := apply(r, body); err != nil {
			return fmt.Errorf("replay at %d: %w", j.end, err)
		}
		j.end = next
	}
	return nil
}

// readEntry reads the entry at off of a journal of the given size. It returns the record, where its body is, and where
// the next entry begins.
func readEntry(f io.ReaderAt, off, size int64) (*record, section, int64, error) {
	var head [headSize]byte
	if _, err := f.ReadAt(head[:], off); err != nil {
		return nil, section{}, 0, tornOr(err)
	}
	nRecord := int64(binary.BigEndian.Uint32(head[0:]))
	nBody := int64(binary.BigEndian.Uint32(head[4:]))
	if nRecord == 0 || nRecord > maxRecord || nBody > maxBody || off+headSize+nRecord+nBody > size {
		return nil, section{}, 0, errTorn
	}
	b := make([]byte, nRecord+nBody)
	if _, err := f.ReadAt(b, off+headSize); err != nil {
		return nil, section{}, 0, tornOr(err)
	}
	if crc32.ChecksumIEEE(b) != binary.BigEndian.Uint32(head[8:]) {
		return nil, section{}, 0, errTorn
	}
	var r record
	if err := json.Unmarshal(b[:nRecord], &r); err != nil {
		return nil, section{}, 0, fmt.Errorf("entry at %d: %w", off, err)
	}
	return &r, section{off: off + headSize + nRecord, n: nBody}, off + headSize + nRecord + nBody, nil
}

func tornOr(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTorn
	}
	return err
}

func (j *journal) append(r *record, raw []byte) (blob, error) {
	meta, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(raw) > maxBody {
		return nil, fmt.Errorf("message of %d bytes is over the limit of %d", len(raw), maxBody)
	}
	b := make([]byte, headSize, headSize+len(meta)+len(raw))
	b = append(append(b, meta...), raw...)
	binary.BigEndian.PutUint32(b[0:], uint32(len(meta)))
	binary.BigEndian.PutUint32(b[4:], uint32(len(raw)))
	binary.BigEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[headSize:]))
	if _, err := j.file.WriteAt(b, j.end); err != nil {
		return nil, fmt.Errorf("write journal: %w", err)
	}
	body := section{file: j.file, off: j.end + headSize + int64(len(meta)), n: int64(len(raw))}
	j.end += int64(len(b))
	return body, nil
}

func (j *journal) sync() error  { return j.file.Sync() }
func (j *journal) close() error { return j.file.Close() }
