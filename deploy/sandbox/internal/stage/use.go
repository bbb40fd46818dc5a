package stage

import (
	"strings"
	"time"

	"github.com/prometheus/procfs" // reads /proc/PID: memory and open files
)

// Use is what a program takes of the machine.
type Use struct {
	Resident uint64 // memory, bytes
	Peak     uint64 // the most that it was
	Sockets  int    // open ones
}

// Use looks at the program as it runs now.
func (p *Program) Use() (Use, error) {
	p.mu.Lock()
	pid := p.cmd.Process.Pid
	p.mu.Unlock()
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return Use{}, err
	}
	status, err := proc.NewStatus()
	if err != nil {
		return Use{}, err
	}
	files, err := proc.FileDescriptorTargets()
	if err != nil {
		return Use{}, err
	}
	u := Use{Resident: status.VmRSS, Peak: status.VmHWM}
	for _, f := range files {
		if strings.HasPrefix(f, "socket:") {
			u.Sockets++
		}
	}
	return u, nil
}

// Began is when the program was started last.
func (p *Program) Began() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.began
}
