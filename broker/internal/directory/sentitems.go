package directory

import (
	"fmt"

	"mailporter/kit/config"
)

// The words of sent-items; what is none of them is a folder's name.
const (
	sentNone = "none"
	sentAuto = "auto"
)

// readSentItems reads where a worker may look whether a message was sent: in the mailbox's inbound side, which may be nil.
func readSentItems(m *config.Map, s, inbound *Section) *SentItems {
	const key, remedy = "sent-items", "leave it out: on-unknown decides then"
	folder := m.Text(key, sentNone)
	switch {
	case folder == sentNone:
		return nil
	case s.Protocol != SMTP:
		m.Warn(key, fmt.Sprintf("has no effect with %s, which can tell by itself what was sent", s.Protocol), "leave it out")
		return nil
	case inbound == nil || inbound.Protocol == POP3:
		m.Warn(key, "has no effect: the mailbox has no pop-client of type IMAP, EWS or GRAPH to look into", remedy)
		return nil
	case folder == sentAuto:
		folder = ""
	}
	return &SentItems{
		Protocol: inbound.Protocol, Mechanism: inbound.Mechanism, Margin: inbound.Margin, Endpoint: inbound.Endpoint,
		Impersonate: inbound.Impersonates(), Folder: folder,
	}
}
