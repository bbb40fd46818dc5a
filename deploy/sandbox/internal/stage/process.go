package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A Program is one of the started processes. It logs to a file named after it.
type Program struct {
	Name string
	// StopWith is the command that ends the program, for those that SIGTERM does not: Postfix. Empty: SIGTERM.
	StopWith []string

	argv  []string
	ready func(context.Context) bool
	log   *os.File

	mu    sync.Mutex
	cmd   *exec.Cmd
	began time.Time
	ended chan struct{} // closed when cmd has ended
	gone  error
	Kills int
}

// Launch starts the program and waits until it is ready.
func Launch(ctx context.Context, dir, name string, ready func(context.Context) bool, argv ...string) (*Program, error) {
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &Program{Name: name, argv: argv, ready: ready, log: log}
	if err := p.start(); err != nil {
		return nil, err
	}
	return p, p.await(ctx)
}

func (p *Program) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	// A process group of its own: Ctrl-C at the terminal reaches the demo alone, which ends the programs in order. And if
	// the demo itself is killed, nothing stays behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	ended := make(chan struct{})
	p.cmd, p.began, p.ended = cmd, began, ended
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.gone = err
		p.mu.Unlock()
		close(ended)
	}()
	return nil
}

func (p *Program) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	for {
		if p.ready(ctx) {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("%s ended: %v; see %s", p.Name, p.gone, p.log.Name())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; see %s", p.Name, ctx.Err(), p.log.Name())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Answers says whether a GET of url gives 200.
func Answers(url string) func(context.Context) bool {
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

// Listens says whether all the loopback ports accept connections.
func Listens(ports ...int) func(context.Context) bool {
	return func(ctx context.Context) bool {
		for _, port := range ports {
			conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				return false
			}
			_ = conn.Close()
		}
		return true
	}
}

// Pongs says whether a Redis serves there; one that is still loading its data answers with an error.
func Pongs(address string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		if _, err := conn.Write([]byte("PING\r\n")); err != nil {
			return false
		}
		answer := make([]byte, 7)
		_, err = io.ReadFull(conn, answer)
		return err == nil && string(answer) == "+PONG\r\n"
	}
}

// Kill ends the program as a power cut would, and starts it again.
func (p *Program) Kill(ctx context.Context) error {
	p.signal(syscall.SIGKILL)
	p.Kills++
	if err := p.start(); err != nil {
		return err
	}
	return p.await(ctx)
}

// signal sends s and waits for the end.
func (p *Program) signal(s syscall.Signal) {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	_ = cmd.Process.Signal(s)
	p.join()
}

// join waits for the end, and forces it in the end.
func (p *Program) join() {
	p.mu.Lock()
	cmd, ended := p.cmd, p.ended
	p.mu.Unlock()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
	}
}

// stop lets the program drain.
func (p *Program) stop() error {
	if len(p.StopWith) > 0 {
		if out, err := exec.Command(p.StopWith[0], p.StopWith[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("stop %s: %w: %s", p.Name, err, out)
		}
		p.join()
		return p.log.Close()
	}
	p.signal(syscall.SIGTERM)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone != nil {
		return fmt.Errorf("%s did not drain: %w; see %s", p.Name, p.gone, p.log.Name())
	}
	return p.log.Close()
}

// StopAll stops the programs, the last started first.
func StopAll(programs []*Program) error {
	var all []error
	for i := len(programs) - 1; i >= 0; i-- {
		all = append(all, programs[i].stop())
	}
	return errors.Join(all...)
}
