package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/prometheus/procfs" // reads /proc/PID: processor time and resident memory
)

// process is a program that was started. It logs to a file.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   *os.File
	began time.Time
	ended chan struct{} // closed when it has ended; err is set before
	err   error
}

func startProcess(log, name string, argv ...string) (*process, error) {
	f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: exec.Command(argv[0], argv[1:]...), log: f, began: time.Now(), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	// Ctrl-C reaches this process alone, which ends the others in order; if it is killed, nothing stays behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

const (
	readyWithin = time.Minute
	look        = 5 * time.Millisecond // between looks whether a process is ready
)

// await returns how long after its start the process was ready.
func (p *process) await(ctx context.Context, ready func(context.Context) bool) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		if ready(ctx) {
			return time.Since(p.began), nil
		}
		select {
		case <-p.ended:
			return 0, fmt.Errorf("%s ended: %v; see %s", p.name, p.err, p.log.Name())
		case <-ctx.Done():
			return 0, fmt.Errorf("%s is not ready: %w; see %s", p.name, ctx.Err(), p.log.Name())
		case <-time.After(look):
		}
	}
}

// stop lets the process drain; a process that ended before is an error.
func (p *process) stop() error {
	defer p.log.Close()
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended early: %v; see %s", p.name, p.err, p.log.Name())
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(readyWithin):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	if p.err != nil {
		return fmt.Errorf("%s did not drain: %w; see %s", p.name, p.err, p.log.Name())
	}
	return nil
}

// cpu is the processor time that the process has used.
func (p *process) cpu() (time.Duration, error) {
	proc, err := procfs.NewProc(p.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return 0, err
	}
	return time.Duration(stat.CPUTime() * float64(time.Second)), nil
}

// memory is the resident set in bytes, now and at its highest.
func (p *process) memory() (now, peak uint64, err error) {
	proc, err := procfs.NewProc(p.cmd.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	status, err := proc.NewStatus()
	return status.VmRSS, status.VmHWM, err
}

// answers says whether a GET of url gives 200.
func answers(url string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
}
