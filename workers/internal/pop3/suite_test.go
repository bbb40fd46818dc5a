package pop3_test

import (
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/pop3"
)

func TestSource(t *testing.T) {
	for name, caps := range map[string]string{"pipelining": pipelining, "without": "USER\r\nUIDL\r\n", "bare": ""} {
		t.Run(name, func(t *testing.T) {
			inboundtest.Source(t, func(t *testing.T) inboundtest.SourceServer { return newFake(t, caps).server() })
		})
	}
}

func (f *fake) server() inboundtest.SourceServer {
	var last *pop3.Source
	return inboundtest.SourceServer{
		Open: func(t *testing.T, after tokenclient.After) inbound.Source {
			if last != nil {
				last.Yield() // a server lets one session in
			}
			s := f.settings()
			s.Inbound.After = after
			last = f.source(t, s)
			return last
		},
		Deliver:    f.deliver,
		Remove:     f.remove,
		Holds:      f.holds,
		LoseCursor: nil, // a UIDL lasts
		RefuseTokens: func(_ *testing.T, n int) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.refuse = n
		},
		Cut: func(*testing.T) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.loseQUIT = 1
		},
		Secrets:  f.secrets,
		Disposes: []tokenclient.After{tokenclient.Keep, tokenclient.Delete},
		Carried:  withLineEnd,
	}
}
