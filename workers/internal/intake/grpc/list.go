package grpc

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"

	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/outbound"

	outboxv1 "mailporter/gen/mailporter/outbox/v1"
)

// Sizes of a page.
const (
	usualPage = 100
	mostPage  = 1000
)

// ListSubmissions implements outboxv1.OutboxServiceServer.
func (s *Server) ListSubmissions(ctx context.Context, req *outboxv1.ListSubmissionsRequest) (*outboxv1.ListSubmissionsResponse, error) {
	by, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	size, err := pageSize(req)
	if err != nil {
		return nil, err
	}
	mailbox := req.GetMailbox()
	if name, _ := s.senders.Sends(mailbox, mailbox); name != "" {
		mailbox = name // as the outbox writes it
	}
	place, ours := placeIn(req.GetPageToken(), mailbox)
	if !ours {
		return nil, errToken
	}
	all, err := s.list(ctx, by, mailbox, place, size+1)
	switch {
	case errors.Is(err, outbound.ErrPlace):
		return nil, errToken
	case err != nil:
		return nil, s.fromOutbox(ctx, "list messages", err)
	}
	return toPage(all, size, mailbox), nil
}

var errToken = invalid("PAGE_TOKEN_INVALID", "page_token is not of this list",
	"give next_page_token of the page before, unchanged and with the same mailbox, to the same worker or one of its fleet; or begin again without one")

// pageSize is how many messages are wanted.
func pageSize(req *outboxv1.ListSubmissionsRequest) (int, error) {
	switch size, most := req.GetPageSize(), req.GetMax(); {
	case size < 0:
		return 0, invalid("PAGE_SIZE_INVALID", "page_size is 0 or more", "leave it out for 100")
	case size > 0:
		return min(int(size), mostPage), nil
	case most < 0 || most > mostPage:
		return 0, invalid("MAX_INVALID", "max is 1 to 1000", "")
	default:
		return int(cmp.Or(most, usualPage)), nil
	}
}

// toPage is the first so many of the messages; one more of them says that there is another page.
func toPage(all []outbound.Status, size int, mailbox string) *outboxv1.ListSubmissionsResponse {
	page := &outboxv1.ListSubmissionsResponse{More: len(all) > size}
	if page.More {
		all = all[:size]
		page.NextPageToken = tokenOf(all[size-1].Place, mailbox)
	}
	for _, m := range all {
		page.Submissions = append(page.Submissions, toSubmission(m))
	}
	return page
}

// list is at most so many messages behind a place that concern the caller. The Outbox knows those of others too, so it is asked
// until there are enough or no more.
func (s *Server) list(ctx context.Context, by intake.Submitter, mailbox, place string, most int) ([]outbound.Status, error) {
	var all []outbound.Status
	for asked := most; ; asked = mostPage {
		some, err := s.outbox.ListAfter(ctx, mailbox, place, asked)
		if err != nil {
			return nil, err
		}
		for _, m := range some {
			if place = m.Place; concerns(by, m) && len(all) < most {
				all = append(all, m)
			}
		}
		if len(some) < asked || len(all) == most {
			return all, nil
		}
	}
}

// A page's token is a place in the outbox's list, behind a sum over it and the mailbox that was asked for: a token that was
// cut off, or belongs to another list, may name a place as well. It gives no right to see anything.
const sumBytes = 6

func sum(place, mailbox string) string {
	s := sha256.Sum256([]byte("outbox.v1 page\x00" + mailbox + "\x00" + place))
	return string(s[:sumBytes])
}

func tokenOf(place, mailbox string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(sum(place, mailbox) + place))
}

// placeIn is the place that a token names: none if it is empty. false: it is not of this list.
func placeIn(token, mailbox string) (place string, ours bool) {
	if token == "" {
		return "", true
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) <= sumBytes {
		return "", false
	}
	place = string(raw[sumBytes:])
	return place, tokenOf(place, mailbox) == token // the decoder passes over line ends
}
