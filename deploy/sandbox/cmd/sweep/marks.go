package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"strings"
)

// marks are the ids of messages that a protocol's workers told of sending again.
type marks map[string]bool

// sentAgain begins the line that tells of it.
const sentAgain = "message sent again"

// readMarks reads a worker's log.
func (m marks) read(log io.Reader) error {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Msg, ID string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && strings.HasPrefix(line.Msg, sentAgain) { // a line that a kill cut short is none
			m[line.ID] = true
		}
	}
	return lines.Err()
}

// marks are those of all workers of a protocol.
func (s *sweep) marks(protocol string) (marks, error) {
	all := marks{}
	for _, w := range s.crews[protocol].workers {
		log, err := os.Open(s.Path(w.Name + ".log"))
		if err != nil {
			return nil, err
		}
		err = all.read(log)
		_ = log.Close() // it was only read
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// strangers are the marks of messages that nobody is known to have handed in under that name: their submitter had no answer.
func (m marks) strangers(named map[string]submission) (n int) {
	for id := range m {
		if _, known := named[id]; !known {
			n++
		}
	}
	return n
}
