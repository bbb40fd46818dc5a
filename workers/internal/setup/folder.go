package setup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mailporter/kit/config"
)

// writable complains about a folder that could not be made or written to, and returns path. It makes nothing.
func writable(m *config.Map, key, path string) string {
	const remedy = "name a folder that the worker may write to"
	at, info, err := nearest(path)
	switch {
	case err != nil:
		m.Complain(key, fmt.Sprintf("%s cannot be used: %v", path, err), remedy)
	case !info.IsDir():
		m.Complain(key, at+" is no folder", remedy)
	default:
		if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
			m.Complain(key, fmt.Sprintf("%s cannot be written to: %v", at, err), "let the worker's user write there, or name another folder")
		}
	}
	return path
}

// nearest is path, or the nearest folder above it that exists.
func nearest(path string) (at string, info os.FileInfo, err error) {
	for at = path; ; at = filepath.Dir(at) {
		info, err = os.Stat(at)
		if !errors.Is(err, os.ErrNotExist) || filepath.Dir(at) == at {
			return at, info, err
		}
	}
}
