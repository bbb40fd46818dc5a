package daemon

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// life waits for what may end a running program.
type life struct {
	frame    *Frame
	cancel   context.CancelFunc
	stopping <-chan struct{} // closed once Run was told to end; nil after that was noticed
	signals  <-chan os.Signal
	done     <-chan error // what Run returned
	within   time.Duration
	draining bool
	overdue  <-chan time.Time
}

// watch returns the exit code. Reloads run beside it, one at a time, so that a slow one cannot hold up an end; asking
// again meanwhile means one more.
func (l *life) watch() int {
	reload := make(chan struct{}, 1)
	defer close(reload)
	go func() {
		for range reload {
			l.frame.Log.Info("reload was asked for")
			l.frame.Reload()
		}
	}()
	for {
		select {
		case s := <-l.signals:
			if s == syscall.SIGHUP {
				select {
				case reload <- struct{}{}:
				default:
				}
			} else if l.draining {
				l.frame.Log.Error("told to end a second time: ending at once", "signal", s.String())
				return ExitWrong
			} else {
				l.drain("signal", s.String())
			}
		case <-l.stopping:
			l.drain()
		case <-l.overdue:
			l.frame.Log.Error("did not finish in time: ending at once", "drain", l.within.String())
			return ExitWrong
		case err := <-l.done:
			select {
			case <-l.stopping: // select may have seen the answer before the question
				l.drain()
			default:
			}
			return l.ended(err)
		}
	}
}

// drain tells Run to end and starts the clock.
func (l *life) drain(why ...any) {
	if l.draining {
		return
	}
	l.frame.Log.Info("draining", append(why, "within", l.within.String())...)
	l.draining, l.stopping = true, nil
	l.frame.drain()
	l.cancel()
	l.overdue = time.After(l.within)
}

// ended turns what Run returned into an exit code.
func (l *life) ended(err error) int {
	if err != nil && !(l.draining && errors.Is(err, context.Canceled)) {
		l.frame.Log.Error("ended with an error", "error", err)
		return ExitWrong
	}
	l.frame.Log.Info("ended")
	return ExitOK
}
