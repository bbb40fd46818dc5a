package imapd

import (
	"testing"

	"github.com/emersion/go-imap/v2"
)

func TestSectionOf(t *testing.T) {
	const raw = "Message-ID: <a@b>\r\nSubject: long\r\n and folded\r\nmessage-id:\r\n\t<c@d>\r\nnonsense\r\n\r\nSubject: body\r\n"
	header := func(fields, not []string) *imap.FetchItemBodySection {
		return &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: fields, HeaderFieldsNot: not}
	}
	for name, tc := range map[string]struct {
		raw     string
		section *imap.FetchItemBodySection
		want    string
	}{
		"everything":      {raw, &imap.FetchItemBodySection{}, raw},
		"the header":      {"A: b\r\n\r\nc", header(nil, nil), "A: b\r\n\r\n"},
		"the text":        {"A: b\r\n\r\nc", &imap.FetchItemBodySection{Specifier: imap.PartSpecifierText}, "c"},
		"a field":         {raw, header([]string{"Subject"}, nil), "Subject: long\r\n and folded\r\n\r\n"},
		"a field twice":   {raw, header([]string{"MESSAGE-ID"}, nil), "Message-ID: <a@b>\r\nmessage-id:\r\n\t<c@d>\r\n\r\n"},
		"no such field":   {raw, header([]string{"To"}, nil), "\r\n"},
		"all but a field": {raw, header(nil, []string{"message-id"}), "Subject: long\r\n and folded\r\nnonsense\r\n\r\n"},
		"nothing":         {"", header([]string{"To"}, nil), "\r\n"},
		"a part":          {raw, &imap.FetchItemBodySection{Partial: &imap.SectionPartial{Offset: 4, Size: 3}}, "age"},
	} {
		if got := string(sectionOf([]byte(tc.raw), tc.section)); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
