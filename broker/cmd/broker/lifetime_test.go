package main

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"mailporter/sandbox"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// TestAMarginThatNoTokenOutlives is told as what it is, and asked about once: Entra's tokens may live ten minutes where a
// policy of the tenant says so, which the configuration cannot know.
func TestAMarginThatNoTokenOutlives(t *testing.T) {
	for name, mailbox := range grants {
		t.Run(name, func(t *testing.T) {
			sb := provider(t, 10*time.Minute)
			s := newSite(t, sb, "file:state")
			s.write("mailboxes.d/all.yaml", strings.Replace(s.read("mailboxes.d/all.yaml"), "pop-client: {type: IMAP,", `pop-client: {token-expiry-margin-time: "00:10:00", type: IMAP,`, 1))
			s.start()
			c := s.connect(worker)
			var callers sync.WaitGroup
			for range 8 {
				callers.Go(func() {
					for range 25 {
						_, err := ask(c, mailbox, in)
						if got := reason(err); got != "FailedPrecondition wrong-config TOKEN_LIFETIME_BELOW_MARGIN" {
							t.Error(got)
							return
						}
					}
				})
			}
			callers.Wait()
			if n := sb.TokenRequests().Total; n != 1 {
				t.Errorf("%d token requests for 200 calls", n)
			}
			_, err := ask(c, mailbox, in)
			if info, _, _ := told(err); !strings.Contains(info.GetMetadata()["remedy"], "token-expiry-margin-time") || !strings.Contains(info.GetMetadata()["remedy"], "10m0s") {
				t.Errorf("the remedy names neither the option nor the life: %v", info)
			}
		})
	}
}

// TestWatchingATokenThatIsTooShort: whoever watches is told as well, and the broker does not renew in circles for him.
func TestWatchingATokenThatIsTooShort(t *testing.T) {
	sb := provider(t, 10*time.Minute)
	s := newSite(t, sb, "file:state")
	s.write("mailboxes.d/all.yaml", strings.Replace(s.read("mailboxes.d/all.yaml"), "pop-client: {type: IMAP,", `pop-client: {token-expiry-margin-time: "00:30:00", type: IMAP,`, 1))
	s.start()
	c := s.connect(worker)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := c.WatchTokens(ctx, &brokerv1.WatchTokensRequest{Selectors: []*brokerv1.Selector{{Mailbox: "app@contoso.example", Direction: in}}})
	for reason := ""; err == nil && reason != "TOKEN_LIFETIME_BELOW_MARGIN"; {
		var resp *brokerv1.WatchTokensResponse
		if resp, err = stream.Recv(); err == nil {
			reason = resp.GetEntries()[0].GetFailure().GetReason()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := ask(c, "app@contoso.example", in); reasonOnly(err) != "TOKEN_LIFETIME_BELOW_MARGIN" {
			t.Fatal(err)
		}
	}
	if n := sb.TokenRequests().Total; n != 1 {
		t.Errorf("%d token requests", n)
	}
}

// TestAWishThatNoTokenOutlives stops the caller who wishes it and nobody else.
func TestAWishThatNoTokenOutlives(t *testing.T) {
	sb := provider(t, 30*time.Minute)
	s := newSite(t, sb, "file:state")
	s.start()
	c := s.connect(worker)
	wish := &brokerv1.AcquireTokenRequest{Selector: &brokerv1.Selector{Mailbox: "app@contoso.example", Direction: in}, MinValidity: durationpb.New(45 * time.Minute)}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for range 20 {
		if _, err := c.AcquireToken(ctx, wish); reasonOnly(err) != "TOKEN_LIFETIME_BELOW_MARGIN" {
			t.Fatal(err)
		}
		if _, err := ask(c, "app@contoso.example", in); err != nil {
			t.Fatal(reason(err))
		}
	}
	if n := sb.TokenRequests().Total; n != 1 {
		t.Errorf("%d token requests", n)
	}
}

// TestOneRefreshTokenForOutlookAndGraph: fetching by IMAP and sending by Graph take two audiences out of one rotating
// credential. The provider voids the whole family when a used refresh token comes again, so a lost rotation would show.
func TestOneRefreshTokenForOutlookAndGraph(t *testing.T) {
	sb := providerWith(t, time.Hour, func(c *sandbox.Config) {
		c.SingleUseRefreshTokens = true
		for i := range c.Tenants[0].Apps {
			c.Tenants[0].Apps[i].Scopes = []string{"IMAP.AccessAsUser.All", "Mail.Send"}
		}
	})
	s := newSite(t, sb, "file:state")
	s.write("policy.yaml", strings.Replace(policy, "report]", "report, admin]", 1))
	s.write("mailboxes.d/all.yaml", strings.Replace(s.read("mailboxes.d/all.yaml"), `scope: "https://outlook.office.com/IMAP.AccessAsUser.All", pop-client: {}}`,
		`pop-client: {scope: "https://outlook.office.com/IMAP.AccessAsUser.All"}, smtp-client: {server-type: GRAPH, scope: "https://graph.microsoft.com/Mail.Send"}}`, 1))
	s.start()
	audiences := both(t, sb, s.connect(worker), "entra@contoso.example")
	if audiences[in] != "https://outlook.office.com" || audiences[out] != "https://graph.microsoft.com" {
		t.Errorf("tokens for %v", audiences)
	}
	const rounds = 10
	boxes := s.mailboxes(worker)
	var both sync.WaitGroup
	for _, side := range []brokerv1.Direction{in, out} {
		both.Go(func() {
			for range rounds {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				resp, err := boxes.CheckMailbox(ctx, &brokerv1.CheckMailboxRequest{Selector: &brokerv1.Selector{Mailbox: "entra@contoso.example", Direction: side}})
				cancel()
				if err != nil || resp.GetStatus().GetState() != brokerv1.State_STATE_HEALTHY {
					t.Errorf("%s: %v, %v", side, resp.GetStatus(), err)
					return
				}
			}
		})
	}
	both.Wait()
	if n := sb.TokenRequests(); n.Refused != 0 || n.Total < 2+rounds {
		t.Errorf("%d token requests, %d refused", n.Total, n.Refused)
	}
	s.end()
	s.start() // the newest refresh token is the one that was kept
	if resp, err := s.mailboxes(worker).CheckMailbox(t.Context(), &brokerv1.CheckMailboxRequest{Selector: &brokerv1.Selector{Mailbox: "entra@contoso.example", Direction: out}}); err != nil || resp.GetStatus().GetState() != brokerv1.State_STATE_HEALTHY {
		t.Errorf("after a restart: %v, %v", resp.GetStatus(), err)
	}
}

// both asks for a token of each side and says whom it is for.
func both(t *testing.T, sb *sandbox.Sandbox, c brokerv1.TokenServiceClient, mailbox string) map[brokerv1.Direction]string {
	t.Helper()
	audiences := map[brokerv1.Direction]string{}
	for _, side := range []brokerv1.Direction{in, out} {
		resp, err := ask(c, mailbox, side)
		if err != nil {
			t.Fatal(reason(err))
		}
		claims, err := sb.Issuer().Verify(resp.GetAccessToken().GetValue())
		if err != nil {
			t.Fatal(err)
		}
		audiences[side] = claims.Audience
	}
	return audiences
}
