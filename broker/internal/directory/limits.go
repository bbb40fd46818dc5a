package directory

import (
	"strings"
	"time"

	"mailporter/kit/config"
)

// allowance is what a provider lets a mailbox send; 0 = any number.
type allowance struct{ messagesPerMinute, messagesPerDay, recipientsPerDay int }

// What the providers publish as of 2026: Exchange Online counts recipients, Google messages (of Workspace; a free account
// may send 500). Exchange Online delays what is above its 30 messages a minute.
var (
	exchangeAllows = allowance{messagesPerMinute: 30, recipientsPerDay: 10_000}
	googleAllows   = allowance{messagesPerDay: 2_000}
)

// graphUpload is what Graph takes from one application for one mailbox within five minutes.
var graphUpload = Limit{Unit: "bytes", Most: 150 << 20, Window: 5 * time.Minute}

const highestLimit = 1_000_000

// readLimits reads what may be sent; what is not written is the provider's.
func readLimits(m *config.Map, s *Section) []Limit {
	usual := allows(s.Endpoint.Server)
	all := []Limit{
		{"messages", int64(m.Int("maximum-messages-per-minute", usual.messagesPerMinute, 0, highestLimit)), time.Minute},
		{"messages", int64(m.Int("maximum-messages-per-day", usual.messagesPerDay, 0, highestLimit)), 24 * time.Hour},
		{"recipients", int64(m.Int("maximum-recipients-per-day", usual.recipientsPerDay, 0, highestLimit)), 24 * time.Hour},
	}
	var set []Limit
	for _, l := range all {
		if l.Most > 0 {
			set = append(set, l)
		}
	}
	if s.Protocol == Graph {
		set = append(set, graphUpload)
	}
	return set
}

// allows is what the provider that a server belongs to lets a mailbox send.
func allows(server string) allowance {
	for _, c := range clouds {
		if server != "" && (strings.EqualFold(server, c.smtp) || strings.EqualFold(server, c.imap) || strings.EqualFold(server, c.graph)) {
			return exchangeAllows
		}
	}
	if strings.HasSuffix(strings.ToLower(server), ".gmail.com") {
		return googleAllows
	}
	return allowance{}
}
