package programtest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/sandbox"
	"mailporter/sandbox/mailstore"
	"mailporter/workers/internal/inbound"
)

// unnoticed is a mailbox whose junk folder nobody is to look into.
const unnoticed = "info@contoso.example"

const largest = 5000 // bytes

// FollowsTheRules tries what may be set for a mailbox: several folders, the disposition, the largest message with and
// without a folder for what failed, and the three rules for junk; and that an operator sees all of it.
func FollowsTheRules(t *testing.T, w Inbound) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) { // its cleanups end before the leak check
		var log Log
		var tokens minted
		sb := w.sandbox(t, 10*time.Minute)
		r := rules{Inbound: w, sandbox: sb, broker: w.broker(t, sb, &tokens)}
		r.broker.SetMailboxes(r.settings(t)...)
		r.fill(t)
		dir, admin := configure(t, sb, r.broker.Listen(t, nil))
		stop := Start(t, w.App, dir, &log)
		WaitFor(t, "all mail", func() bool { return len(arrived(t, dir)) == 5 && len(r.noted(t, admin, "")) == 2 })
		WaitFor(t, "the end of all cycles", func() bool { return r.settled(t, admin) })
		mustEqual(t, arrived(t, dir), [][]byte{short(0), short(1), short(2), short(3), short(4)})
		for i, mailbox := range []string{mailboxes[0], mailboxes[1], unnoticed} {
			if got, want := len(maildir(t, dir, mailbox)), []int{3, 1, 1}[i]; got != want {
				t.Errorf("%s: %d messages in its Maildir, want %d", mailbox, got, want)
			}
		}
		r.mustHold(t)
		r.mustTell(t, admin)
		stop()
	})
}

// rules is a world in which the mailboxes' settings differ.
type rules struct {
	Inbound
	sandbox *sandbox.Sandbox
	broker  *brokertest.Broker
}

func (r rules) settings(t *testing.T) []tokenclient.Settings {
	t.Helper()
	all := r.Inbound.settings(t, r.sandbox)
	third := all[1]
	third.Mailbox, third.Endpoint.User = unnoticed, unnoticed
	all = append(all, third)
	for i, in := range []tokenclient.InboundSettings{
		{Folders: []string{"INBOX", "Projects/Größe & mehr"}, After: tokenclient.Move, AfterFolder: "Done", FailedFolder: "Failed/2026", Junk: tokenclient.JunkRead},
		{Folders: []string{"INBOX"}, After: tokenclient.MarkRead, Junk: tokenclient.JunkCount},
		{Folders: []string{"INBOX"}, After: tokenclient.Delete, Junk: tokenclient.JunkIgnore},
	} {
		in.CycleTime, in.MaxSize, in.DeliverTo = time.Second, largest, "default"
		all[i].Inbound = in
	}
	return all
}

func short(i int) []byte {
	return fmt.Appendf(nil, "Message-ID: <short%d@test.example>\r\n\r\n%d\r\n", i, i)
}

func long(i int) []byte {
	return fmt.Appendf(nil, "Message-ID: <long%d@test.example>\r\n\r\n%s\r\n", i, strings.Repeat("x", 2*largest))
}

// fill puts the mail into the mailboxes.
func (r rules) fill(t *testing.T) {
	t.Helper()
	const project = "Projects/Größe & mehr"
	for _, name := range []string{"Projects", project} {
		if err := r.sandbox.Store().CreateFolder(mailboxes[0], mailstore.FolderSpec{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []struct {
		mailbox, folder string
		raw             []byte
	}{
		{mailboxes[0], "INBOX", short(0)}, {mailboxes[0], "INBOX", long(0)}, {mailboxes[0], project, short(1)}, {mailboxes[0], "Junk Email", short(2)},
		{mailboxes[1], "INBOX", long(1)}, {mailboxes[1], "INBOX", short(3)}, {mailboxes[1], "Junk Email", short(8)}, {mailboxes[1], "Junk Email", short(9)},
		{unnoticed, "INBOX", short(4)}, {unnoticed, "Junk Email", short(7)},
	} {
		if _, err := r.sandbox.Store().Deliver(m.raw, []mailstore.Target{{Mailbox: m.mailbox, Folder: m.folder}}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// held is what lies in a folder, with "seen " before what is marked as read.
func (r rules) held(t *testing.T, mailbox, folder string) (all []string) {
	t.Helper()
	f, err := r.sandbox.Store().Folder(mailbox, folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range f.Messages {
		raw, err := m.Raw()
		if err != nil {
			t.Fatal(err)
		}
		if m.Has(`\Seen`) {
			raw = append([]byte("seen "), raw...)
		}
		all = append(all, string(raw))
	}
	slices.Sort(all)
	return all
}

// mustHold looks into the mailboxes afterwards.
func (r rules) mustHold(t *testing.T) {
	t.Helper()
	for _, f := range []struct {
		mailbox, folder string
		want            []string
	}{
		{mailboxes[0], "INBOX", nil},
		{mailboxes[0], "Projects/Größe & mehr", nil},
		{mailboxes[0], "Junk Email", nil},
		{mailboxes[0], "Done", []string{string(short(0)), string(short(1)), string(short(2))}},
		{mailboxes[0], "Failed/2026", []string{string(long(0))}},
		{mailboxes[1], "INBOX", []string{string(long(1)), "seen " + string(short(3))}},
		{mailboxes[1], "Junk Email", []string{string(short(8)), string(short(9))}},
		{unnoticed, "INBOX", nil},
		{unnoticed, "Junk Email", []string{string(short(7))}},
	} {
		if got := r.held(t, f.mailbox, f.folder); !slices.Equal(got, f.want) {
			t.Errorf("%s of %s holds %d messages, want %d: %.60q", f.folder, f.mailbox, len(got), len(f.want), got)
		}
	}
}

// passedOver is an entry of /quarantine.
type passedOver struct {
	Mailbox, Folder, Reason string
	Moved                   bool
}

func (r rules) noted(t *testing.T, admin, mailbox string) (all []passedOver) {
	t.Helper()
	if page := Page(admin, "/quarantine?mailbox="+url.QueryEscape(mailbox)); page != "" {
		if err := json.Unmarshal([]byte(page), &all); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// statuses is the status page.
func statuses(t *testing.T, admin string) (all []inbound.FolderStatus) {
	t.Helper()
	if page := Page(admin, "/mailboxes"); page != "" {
		if err := json.Unmarshal([]byte(page), &all); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// settled says whether every folder was read to its end, and the junk counted.
func (r rules) settled(t *testing.T, admin string) bool {
	all := statuses(t, admin)
	return len(all) == 5 && !slices.ContainsFunc(all, func(s inbound.FolderStatus) bool {
		return s.LastSuccess.IsZero() || s.Mailbox == mailboxes[1] && s.Junk == nil
	})
}

// mustTell asks for what a person wants to know.
func (r rules) mustTell(t *testing.T, admin string) {
	t.Helper()
	for _, mailbox := range mailboxes {
		all := r.noted(t, admin, mailbox)
		if len(all) != 1 || all[0].Folder != "INBOX" || !strings.Contains(all[0].Reason, "maximum-msg-size") || all[0].Moved != (mailbox == mailboxes[0]) {
			t.Errorf("%s: the quarantine says %+v", mailbox, all)
		}
	}
	for _, s := range statuses(t, admin) {
		junk := 0
		if s.Junk != nil {
			junk = s.Junk.Messages
		}
		large, counted := s.Folder == "INBOX" && s.Mailbox != unnoticed, s.Mailbox == mailboxes[1]
		if s.Failure != nil || (s.Quarantined == 1) != large || (junk == 2) != counted || counted && s.Junk.Oldest.IsZero() {
			t.Errorf("status: %+v, junk %+v", s, s.Junk)
		}
	}
	metrics := Page(admin, "/metrics")
	for _, want := range []string{
		fmt.Sprintf(`inbound_messages_total{kind="quarantined",protocol=%q} 2`, r.Protocol),
		fmt.Sprintf(`inbound_quarantined_messages{folder="INBOX",mailbox=%q} 1`, mailboxes[0]),
		fmt.Sprintf(`inbound_junk_messages{folder="INBOX",mailbox=%q} 2`, mailboxes[1]),
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if strings.Contains(metrics, fmt.Sprintf(`inbound_junk_messages{folder="INBOX",mailbox=%q}`, unnoticed)) {
		t.Error("junk was counted that is to be ignored")
	}
}

// maildir is what lies in one mailbox's Maildir.
func maildir(t *testing.T, dir, mailbox string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "mail", mailbox, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
