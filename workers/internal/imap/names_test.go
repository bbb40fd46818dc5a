package imap_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/imap"
	"mailporter/workers/internal/providertest"
)

// TestNamesOnTheWire: names go out in modified UTF-7 (RFC 3501 section 5.1.3), whatever the server could do if it was asked.
func TestNamesOnTheWire(t *testing.T) {
	names := map[string]string{
		"Entwürfe & Müll":    `"Entw&APw-rfe &- M&APw-ll"`,
		"&":                  `"&-"`,
		"~peter/mail/台北/日本語": `"~peter/mail/&U,BTFw-/&ZeVnLIqe-"`,
		"Größe\"\\":          `"Gr&APYA3w-e\"\\"`,
		"📥":                  `"&2D3c5Q-"`,
		"100% *":             `"100% *"`,
		"Korrespondenz":      `"Korrespondenz"`,
	}
	for _, caps := range []string{"", "UTF8=ACCEPT ENABLE", "IMAP4rev2 ENABLE UTF8=ACCEPT"} {
		for name, want := range names {
			t.Run(caps+" "+name, func(t *testing.T) {
				src, server := playFolder(t, inboxOf(caps), name, func(s *tokenclient.Settings) { s.Inbound.AfterFolder = "x" })
				providertest.Page(t, src, nil)
				if got := server.commands("SELECT"); !slices.Equal(got, []string{"SELECT " + want}) {
					t.Errorf("sent %s", got)
				}
			})
		}
	}
}

// folders is a script of an inbox beside folders: name as LIST has it to the line of LIST.
func folders(caps string, names map[string]string) script {
	answers := inboxOf(caps)
	for name, line := range names {
		answers["LIST \"\" "+name] = line + "\r\nTAG OK done\r\n"
	}
	return answers
}

// TestWhereAFolderIs: the settings' names find the server's, by the fewest questions.
func TestWhereAFolderIs(t *testing.T) {
	prefixed := map[string]string{"NAMESPACE": "* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\nTAG OK done\r\n"}
	dotted := map[string]string{`LIST "" ""`: "* LIST (\\Noselect) \".\" \"\"\r\nTAG OK done\r\n"}
	for name, tc := range map[string]struct {
		caps   string
		more   map[string]string
		there  map[string]string
		folder string
		want   string
	}{
		"as it stands":                {"NAMESPACE", prefixed, map[string]string{`"Done"`: `* LIST () "." Done`}, "Done", `"Done"`},
		"behind the prefix":           {"NAMESPACE", prefixed, map[string]string{`"INBOX.Done"`: `* LIST () "." INBOX.Done`}, "Done", `"INBOX.Done"`},
		"levels behind the prefix":    {"NAMESPACE", prefixed, map[string]string{`"INBOX.Done.2026"`: `* LIST () "." INBOX.Done.2026`}, "Done/2026", `"INBOX.Done.2026"`},
		"below the inbox":             {"NAMESPACE", prefixed, map[string]string{`"INBOX.Done"`: `* LIST () "." INBOX.Done`}, "inbox/Done", `"INBOX.Done"`},
		"levels without NAMESPACE":    {"", dotted, map[string]string{`"Done.2026"`: `* LIST () "." Done.2026`}, "Done/2026", `"Done.2026"`},
		"another one fits as well":    {"", nil, map[string]string{`"Do%e"`: "* LIST () \"/\" Done\r\n* LIST () \"/\" \"Do%e\""}, "Do%e", `"Do%e"`},
		"another case, another one":   {"", nil, map[string]string{`"done"`: "* LIST () \"/\" Done\r\n* LIST () \"/\" done"}, "done", `"done"`},
		"cases that are not told":     {"", nil, map[string]string{`"done"`: `* LIST () "/" Done`}, "done", `"Done"`},
		"nowhere: the server says so": {"NAMESPACE", prefixed, nil, "Done", `"INBOX.Done"`},
		"the inbox in any case":       {"NAMESPACE", prefixed, nil, "inbox", "INBOX"},
	} {
		t.Run(name, func(t *testing.T) {
			answers := folders(tc.caps, tc.there)
			maps.Copy(answers, tc.more)
			src, server := playFolder(t, answers, tc.folder, func(s *tokenclient.Settings) { s.Inbound.AfterFolder = "x" })
			providertest.Page(t, src, nil)
			providertest.Page(t, src, nil)
			if got := server.commands("SELECT"); !slices.Equal(got, []string{"SELECT " + tc.want}) {
				t.Errorf("sent %s", got)
			}
		})
	}
}

// TestAFolderIsMadeWhereItBelongs: behind the prefix, with the server's delimiter, once.
func TestAFolderIsMadeWhereItBelongs(t *testing.T) {
	answers := folders("NAMESPACE MOVE", map[string]string{`"Done/*"`: `* LIST () "." Done.old`}) // fits, and is another one
	answers["NAMESPACE"] = "* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\nTAG OK done\r\n"
	src, server := play(t, answers, func(s *tokenclient.Settings) { s.Inbound.After, s.Inbound.AfterFolder = tokenclient.Move, "Done/*" })
	for range 2 {
		if err := src.Settle(t.Context(), providertest.IDs(providertest.Page(t, src, nil))); err != nil {
			t.Fatal(err)
		}
	}
	if got := server.commands("CREATE"); !slices.Equal(got, []string{`CREATE "INBOX.Done.*"`}) {
		t.Errorf("made %s", got)
	}
	if got := server.commands("UID MOVE"); len(got) != 2 || got[0] != `UID MOVE 7 "INBOX.Done.*"` {
		t.Errorf("moved with %s", got)
	}
}

// TestOneFolderByTwoNames: mail that is moved to where it is would come again under a new UID, for ever.
func TestOneFolderByTwoNames(t *testing.T) {
	answers := folders("NAMESPACE MOVE", map[string]string{`"INBOX.Done"`: `* LIST () "." INBOX.Done`})
	answers["NAMESPACE"] = "* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\nTAG OK done\r\n"
	src, server := playFolder(t, answers, "Done", func(s *tokenclient.Settings) {
		s.Inbound.After, s.Inbound.AfterFolder, s.Inbound.FailedFolder = tokenclient.Move, "INBOX/Done", "INBOX.Done"
	})
	p := providertest.Page(t, src, nil)
	mustSay(t, src.Settle(t.Context(), providertest.IDs(p)), fault.Temporary, "SAME_FOLDER")
	_, err := src.SetAside(t.Context(), p.Items[0].ID)
	mustSay(t, err, fault.Temporary, "SAME_FOLDER")
	if got := server.commands("UID MOVE"); len(got) > 0 {
		t.Errorf("moved with %s", got)
	}
}

// TestTheInboxByAnotherName is found out before anything is read.
func TestTheInboxByAnotherName(t *testing.T) {
	_, err := imap.New(imap.Config{Folder: "inbox", Settings: tokenclient.Settings{Inbound: tokenclient.InboundSettings{
		After: tokenclient.Move, AfterFolder: "INBOX", FailedFolder: "Inbox"}}})
	for _, want := range []string{"disposition", "failed-items-folder-name"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}
