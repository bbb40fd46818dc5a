package program

import (
	"strings"
	"testing"

	"mailporter/workers/internal/setup"
)

// TestSinks: an unnamed sink is the default one; one that is not there is told with those that are.
func TestSinks(t *testing.T) {
	dir := t.TempDir()
	s, err := openSinks(map[string]setup.Sink{"default": {Maildir: dir + "/a"}, "helpdesk": {Maildir: dir + "/b"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	unnamed, err := s.find("")
	if err != nil || unnamed != s["default"] {
		t.Errorf("without a name: %v, %v", unnamed, err)
	}
	if named, err := s.find("helpdesk"); err != nil || named != s["helpdesk"] {
		t.Errorf("by name: %v, %v", named, err)
	}
	if _, err := s.find("desk"); err == nil || !strings.Contains(err.Error(), "it has default, helpdesk") {
		t.Errorf("a name that is not there: %v", err)
	}
}
