package sandbox_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// awkward has what mail movers get wrong: leading dots, 8-bit, a long line, no end of line at the end of a part.
var awkward = "From: support@contoso.example\r\nTo: sales@contoso.example\r\nSubject: =?utf-8?q?hall=C3=B6?=\r\n\r\n" +
	".\r\n..\r\n.leading dot\r\nh\xc3\xa4ll\xf6\r\n" + strings.Repeat("long ", 4000) + "\r\n"

func fetchAll(t *testing.T, c *imapclient.Client, folder string) [][]byte {
	t.Helper()
	if _, err := c.Select(folder, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	messages, err := c.Fetch(imap.UIDSet{{Start: 1}}, &imap.FetchOptions{
		UID: true, Flags: true, InternalDate: true, RFC822Size: true,
		BodySection: []*imap.FetchItemBodySection{{Peek: true}},
	}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]byte, len(messages))
	for i, m := range messages {
		out[i] = m.BodySection[0].Bytes
		if m.RFC822Size != int64(len(out[i])) {
			t.Errorf("RFC822.SIZE %d of %d bytes", m.RFC822Size, len(out[i]))
		}
	}
	return out
}

func TestMailGoesInBySMTPAndOutByIMAPUnaltered(t *testing.T) {
	sb := start(t, contoso())
	token := appToken(t, sb, service)
	if err := send(openSMTP(t, sb, support, token), support, awkward, sales, "someone@elsewhere.example"); err != nil {
		t.Fatal(err)
	}
	inbox := fetchAll(t, openIMAP(t, sb, sales, token, nil), "INBOX")
	if len(inbox) != 1 || !bytes.Equal(inbox[0], []byte(awkward)) {
		t.Errorf("inbox: %d messages, want the one that was sent, byte for byte", len(inbox))
	}
	sent := fetchAll(t, openIMAP(t, sb, support, token, nil), "Sent Items")
	if len(sent) != 1 || !bytes.Equal(sent[0], []byte(awkward)) {
		t.Errorf("sent items: %d messages, want a copy", len(sent))
	}
	out := sb.Outbound()
	if len(out) != 1 || out[0].To[0] != "someone@elsewhere.example" || out[0].From != support {
		t.Errorf("outbound: %+v", out)
	}
}
