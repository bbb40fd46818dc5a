package secret

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Ref says where a secret is kept. Exactly one of its fields is set; the zero Ref names no secret.
type Ref struct {
	File    string // path of a file that holds nothing else; one line end at its end is not part of it
	Env     string // name of an environment variable
	Literal String // the secret itself, for trials: configuration warns about it
	// Expires is when the secret ends, as whoever made it knows; zero = not told.
	Expires time.Time
}

// IsZero says whether the reference names nothing.
func (r Ref) IsZero() bool { return r.File == "" && r.Env == "" && r.Literal.hidden == nil }

// Read fetches the secret. It reads anew every time, because files rotate. Errors name the place, never the content.
func (r Ref) Read() (String, error) {
	switch {
	case r.File != "":
		return readFile(r.File)
	case r.Env != "":
		return readEnv(r.Env)
	case r.Literal.hidden != nil:
		return r.Literal, nil
	}
	return String{}, errors.New("no secret is named")
}

// String tells where the secret is, not what it is.
func (r Ref) String() string {
	switch {
	case r.File != "":
		return "file " + r.File
	case r.Env != "":
		return "environment variable " + r.Env
	case r.Literal.hidden != nil:
		return "literal"
	}
	return "none"
}

// maxFile bounds what is read: keys and certificates are far smaller.
const maxFile = 1 << 20

func readFile(path string) (String, error) {
	info, err := os.Stat(path)
	if err != nil {
		return String{}, fmt.Errorf("read secret: %w", err)
	}
	if info.Size() > maxFile {
		return String{}, fmt.Errorf("read secret: %s is larger than %d bytes", path, maxFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return String{}, fmt.Errorf("read secret: %w", err)
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if s == "" {
		return String{}, fmt.Errorf("read secret: %s is empty", path)
	}
	return New(s), nil
}

func readEnv(name string) (String, error) {
	s := os.Getenv(name)
	if s == "" {
		return String{}, fmt.Errorf("read secret: environment variable %s is not set", name)
	}
	return New(s), nil
}
