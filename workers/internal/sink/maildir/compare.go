package maildir

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"mailporter/workers/internal/mail"
)

// sameMessage says whether the file holds the message. Bytes cannot decide: Exchange builds the MIME form anew for every
// download, with other boundaries and other folding. So the headers do, without their folding and without Content-Type,
// which holds the boundary. A file that just went away was the message: whoever took it has it.
func sameMessage(path string, body mail.Body) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	there, err := header(f)
	if err != nil {
		return false, err
	}
	r, err := body.Open()
	if err != nil {
		return false, err
	}
	defer r.Close()
	offered, err := header(r)
	return there == offered, err
}

// maxHeader bounds what is compared of a header, in bytes.
const maxHeader = 1 << 20

// header is a message's header with every run of white space as one space and without Content-Type. A message without a
// header is compared as a whole, up to maxHeader.
func header(r io.Reader) (string, error) {
	var b strings.Builder
	lines := bufio.NewReader(io.LimitReader(r, maxHeader))
	skip := false
	for {
		line, err := lines.ReadString('\n')
		words := strings.Fields(line)
		if err == nil && len(words) == 0 || errors.Is(err, io.EOF) && line == "" {
			return b.String(), nil
		}
		if folded := line[0] == ' ' || line[0] == '\t'; !folded {
			skip = strings.HasPrefix(strings.ToLower(line), "content-type:")
			b.WriteByte('\n')
		}
		if !skip {
			b.WriteString(" " + strings.Join(words, " "))
		}
		if errors.Is(err, io.EOF) {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// sumOf is 16 hexadecimal digits of the content's SHA-256.
func sumOf(body mail.Body) (string, error) {
	r, err := body.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}
