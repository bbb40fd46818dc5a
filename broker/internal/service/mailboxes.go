package service

import (
	"context"
	"encoding/base64"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"time"

	"google.golang.org/grpc"

	"mailporter/broker/internal/audit"
	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/policy"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// streamLife is when a stream ends at the latest, so that streams spread over replicas that came later.
const streamLife = 30 * time.Minute

// WatchMailboxes implements the contract.
func (s *Server) WatchMailboxes(req *brokerv1.WatchMailboxesRequest, stream grpc.ServerStreamingServer[brokerv1.WatchMailboxesResponse]) error {
	ctx := stream.Context()
	who := s.callerOf(ctx)
	life := time.NewTimer(streamLife - rand.N(streamLife/4))
	defer life.Stop()
	var sent []*brokerv1.MailboxSettings
	for first := true; ; first = false {
		now := s.Directory.Now()
		if set := s.served(now, who.identity, req); first || !sameVersions(set, sent) {
			if err := stream.Send(&brokerv1.WatchMailboxesResponse{Mailboxes: set}); err != nil {
				return err
			}
			sent = set
		}
		select {
		case <-now.Replaced():
		case <-ctx.Done():
			return ctx.Err()
		case <-s.draining:
			return nil
		case <-life.C:
			return nil
		}
	}
}

// served is what the identity may serve of what it asks for, in the order of addresses.
func (s *Server) served(c *directory.Config, identity string, req *brokerv1.WatchMailboxesRequest) []*brokerv1.MailboxSettings {
	var set []*brokerv1.MailboxSettings
	for _, box := range c.Mailboxes {
		for _, side := range box.Sides() {
			if p := req.GetProtocol(); p != brokerv1.Protocol_PROTOCOL_UNSPECIFIED && p != protocols[side.Protocol] {
				continue
			}
			if d := req.GetDirection(); d != brokerv1.Direction_DIRECTION_UNSPECIFIED && d != directionOut(side.Direction) {
				continue
			}
			if sees(c.Policy, identity, side, policy.Settings) {
				set = append(set, settingsOf(side, c.MailVia))
			}
		}
	}
	return set
}

// sees says whether one of the verbs is given for the section.
func sees(p *policy.Policy, identity string, s *directory.Section, verbs ...policy.Verb) bool {
	return slices.ContainsFunc(verbs, func(v policy.Verb) bool {
		return p.Decide(policy.Query{Identity: identity, Mailbox: strings.ToLower(s.Mailbox), Protocol: string(s.Protocol), Verb: v}).Allowed
	})
}

// sameVersions compares what workers would do differently.
func sameVersions(a, b []*brokerv1.MailboxSettings) bool {
	return slices.EqualFunc(a, b, func(x, y *brokerv1.MailboxSettings) bool {
		return x.GetVersion() == y.GetVersion() && x.GetSelector().GetMailbox() == y.GetSelector().GetMailbox() &&
			x.GetSelector().GetDirection() == y.GetSelector().GetDirection()
	})
}

// GetMailbox implements the contract.
func (s *Server) GetMailbox(ctx context.Context, req *brokerv1.GetMailboxRequest) (*brokerv1.GetMailboxResponse, error) {
	now := s.Directory.Now()
	c := s.open(ctx, "GetMailbox", req.GetMailbox(), "")
	c.entry.Rule = policy.NoRule
	var box *brokerv1.Mailbox
	if found := now.Find(req.GetMailbox()); found != nil {
		box = s.visible(ctx, now, c.entry.Identity, found)
	}
	if box == nil {
		return nil, c.close(ctx, deniedRefusal())
	}
	c.entry.Decision, c.entry.Rule = audit.Allow, "settings or admin"
	if err := c.close(ctx, nil); err != nil {
		return nil, err
	}
	return &brokerv1.GetMailboxResponse{Mailbox: box}, nil
}

// visible is what the identity may see of a mailbox, or nil.
func (s *Server) visible(ctx context.Context, c *directory.Config, identity string, box *directory.Mailbox) *brokerv1.Mailbox {
	out := &brokerv1.Mailbox{Address: box.Address}
	for _, side := range box.Sides() {
		if sees(c.Policy, identity, side, policy.Settings, policy.Admin) {
			out.Settings = append(out.Settings, settingsOf(side, c.MailVia))
			out.Statuses = append(out.Statuses, s.statusOf(ctx, side))
		}
	}
	if len(out.Settings) == 0 {
		return nil
	}
	return out
}

// Sizes of a page.
const (
	pageDefault = 1_000
	pageMost    = 10_000
)

// ListMailboxes implements the contract.
func (s *Server) ListMailboxes(ctx context.Context, req *brokerv1.ListMailboxesRequest) (*brokerv1.ListMailboxesResponse, error) {
	after, err := base64.RawURLEncoding.DecodeString(req.GetPageToken())
	if err != nil || req.GetPageSize() < 0 {
		return nil, invalid("PAGE_INVALID", "page_token", "is none of ours, or page_size is negative").Err()
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = pageDefault
	}
	size = min(size, pageMost)
	now, who := s.Directory.Now(), s.callerOf(ctx)
	resp := &brokerv1.ListMailboxesResponse{}
	for _, box := range now.Mailboxes[begin(now.Mailboxes, string(after)):] {
		m := s.wanted(ctx, now, who.identity, box, req)
		if m == nil {
			continue
		}
		if len(resp.GetMailboxes()) == size {
			last := resp.GetMailboxes()[size-1].GetAddress()
			resp.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(strings.ToLower(last)))
			break
		}
		resp.Mailboxes = append(resp.Mailboxes, m)
	}
	return resp, nil
}

// begin is the index of the first mailbox after an address.
func begin(boxes []*directory.Mailbox, after string) int {
	if after == "" {
		return 0
	}
	return sort.Search(len(boxes), func(i int) bool { return strings.ToLower(boxes[i].Address) > after })
}

func (s *Server) wanted(ctx context.Context, c *directory.Config, identity string, box *directory.Mailbox, req *brokerv1.ListMailboxesRequest) *brokerv1.Mailbox {
	if p := req.GetAddressPattern(); p != "" && !policy.MatchText(strings.ToLower(p), strings.ToLower(box.Address)) {
		return nil
	}
	m := s.visible(ctx, c, identity, box)
	if m == nil || len(req.GetStates()) == 0 {
		return m
	}
	if slices.ContainsFunc(m.GetStatuses(), func(st *brokerv1.MailboxStatus) bool { return slices.Contains(req.GetStates(), st.GetState()) }) {
		return m
	}
	return nil
}
