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

// readSentItems reads where a worker may look whether a message was sent: in the mailbox's inbound side, which may be nil. What
// has no effect is told of where the section itself has it: defaults are for all mailboxes, whatever they speak.
func readSentItems(m *config.Map, s, inbound *Section) *SentItems {
	const key = "sent-items"
	folder := m.Text(key, sentNone)
	if folder == sentNone {
		return nil
	}
	if why := cannotLook(s, inbound); why != "" {
		if m.HasHere(key) {
			m.Warn(key, "has no effect"+why, "leave it out")
		}
		return nil
	}
	if folder == sentAuto {
		folder = ""
	}
	return &SentItems{
		Protocol: inbound.Protocol, Mechanism: inbound.Mechanism, Margin: inbound.Margin, Endpoint: inbound.Endpoint,
		Impersonate: inbound.Impersonates(), Folder: folder,
	}
}

// cannotLook is why there is nothing to look for, or nowhere to look; empty if there is.
func cannotLook(s, inbound *Section) string {
	switch {
	case s.Protocol != SMTP:
		return fmt.Sprintf(" with %s, which can tell by itself what was sent", s.Protocol)
	case inbound == nil || inbound.Protocol == POP3:
		return ": the mailbox has no pop-client of type IMAP, EWS or GRAPH to look into; on-unknown decides"
	}
	return ""
}
