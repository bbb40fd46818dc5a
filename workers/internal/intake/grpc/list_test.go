package grpc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/intake/grpc"
	"mailporter/workers/internal/intake/intaketest"
	"mailporter/workers/internal/outbound/outboundtest"

	outboxv1 "mailporter/gen/mailporter/outbox/v1"
)

// TestPages takes page after page, with messages of others in between, while some leave and others come.
func TestPages(t *testing.T) {
	for name, store := range intaketest.Outboxes(t) {
		t.Run(name, func(t *testing.T) {
			o := store(t)
			d := openOver(t, grpc.Config{}, o, known())
			c := d.client(t, "")
			var want []string
			for i := range 25 {
				from := support
				if i%3 == 0 {
					from = sales
				}
				id := submit(t, c, to(fmt.Sprint(i), from, ann), letter).GetId()
				if from == sales {
					want = append(want, id)
				}
			}
			var got []string
			req := &outboxv1.ListSubmissionsRequest{Mailbox: strings.ToUpper(sales), PageSize: 2}
			for {
				page, err := c.ListSubmissions(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range page.GetSubmissions() {
					got = append(got, m.GetId())
				}
				if page.GetMore() != (page.GetNextPageToken() != "") {
					t.Errorf("more: %v, token %q", page.GetMore(), page.GetNextPageToken())
				}
				if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
					break
				}
				if err := o.Drop(t.Context(), got[len(got)-1]); err != nil { // where the next page begins
					t.Fatal(err)
				}
				if err := o.Retry(t.Context(), got[0]); len(got) < 3 && err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// firstToken is that of the first page, of one message.
func firstToken(t *testing.T, c outboxv1.OutboxServiceClient, mailbox string) string {
	t.Helper()
	page, err := c.ListSubmissions(t.Context(), &outboxv1.ListSubmissionsRequest{Mailbox: mailbox, PageSize: 1})
	if err != nil || page.GetNextPageToken() == "" {
		t.Fatalf("%v, %v", page, err)
	}
	return page.GetNextPageToken()
}

// TestPageTokens: only a token of the same list is taken.
func TestPageTokens(t *testing.T) {
	tokens, clients := map[string]string{}, map[string]outboxv1.OutboxServiceClient{}
	for name, store := range intaketest.Outboxes(t) {
		c := openOver(t, grpc.Config{}, store(t), known()).client(t, "")
		for i := range 3 {
			submit(t, c, to(fmt.Sprint(i), sales, ann), letter)
		}
		tokens[name], clients[name] = firstToken(t, c, ""), c
	}
	for name, other := range map[string]string{"file": "redis", "redis": "file"} {
		t.Run(name, func(t *testing.T) {
			c, mine := clients[name], tokens[name]
			for what, token := range map[string]string{
				"cut off": mine[:len(mine)-2], "longer": mine + "MTIz", "changed": "AAAA" + mine[4:], "none of ours": "MTIzNDU2Nzg5", "no base64": "?", "a blank": " ",
				"of a mailbox": firstToken(t, c, sales), "of another kind of store": tokens[other],
			} {
				_, err := c.ListSubmissions(t.Context(), &outboxv1.ListSubmissionsRequest{PageToken: token})
				want(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID")
				if err == nil || !strings.Contains(err.Error(), "begin again without one") {
					t.Errorf("%s: %v", what, err)
				}
			}
			page, err := c.ListSubmissions(t.Context(), &outboxv1.ListSubmissionsRequest{PageToken: mine, PageSize: 9})
			if err != nil || len(page.GetSubmissions()) != 2 {
				t.Errorf("%v, %v", page, err)
			}
		})
	}
}

func TestPageSizes(t *testing.T) {
	d := openTLS(t, grpc.Config{Clients: intake.Clients{{Name: "root"}}}, &outboundtest.Memory{})
	c := d.client(t, "root")
	for i := range 101 {
		submit(t, c, to(fmt.Sprint(i), sales, ann), letter)
	}
	for name, tc := range map[string]struct {
		size, most int32
		n          int
	}{"the usual": {0, 0, 100}, "small": {3, 0, 3}, "before max": {3, 7, 3}, "max": {0, 7, 7}, "too large": {100_000, 0, 101}} {
		t.Run(name, func(t *testing.T) {
			page, err := c.ListSubmissions(t.Context(), &outboxv1.ListSubmissionsRequest{PageSize: tc.size, Max: tc.most})
			if err != nil || len(page.GetSubmissions()) != tc.n {
				t.Errorf("%d, %v", len(page.GetSubmissions()), err)
			}
		})
	}
	_, err := c.ListSubmissions(t.Context(), &outboxv1.ListSubmissionsRequest{PageSize: -1})
	want(t, err, codes.InvalidArgument, "PAGE_SIZE_INVALID")
}
