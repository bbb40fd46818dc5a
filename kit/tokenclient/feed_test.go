package tokenclient

import (
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
	"mailporter/kit/secret"
)

// FuzzSet lets a cache take any message for a set: it gives out nothing but usable credentials of the side asked for, and
// nothing that a mail server refused.
func FuzzSet(f *testing.F) {
	box := &brokerv1.Selector{Mailbox: "a@contoso.com", Direction: brokerv1.Direction_DIRECTION_INBOUND}
	for _, e := range []*brokerv1.WatchTokensResponse_Entry{
		{},
		{Selector: box, Result: &brokerv1.WatchTokensResponse_Entry_AccessToken{AccessToken: &brokerv1.AccessToken{Value: "t",
			ValidFor: durationpb.New(time.Hour), UsableFor: durationpb.New(time.Hour)}}},
		{Selector: box, Result: &brokerv1.WatchTokensResponse_Entry_AccessToken{AccessToken: &brokerv1.AccessToken{Value: "refused",
			ValidFor: durationpb.New(time.Hour), UsableFor: durationpb.New(-time.Hour)}}},
		{Selector: box, Result: &brokerv1.WatchTokensResponse_Entry_Password{Password: &brokerv1.Password{User: "u", Value: "p"}}},
		{Selector: box, Result: &brokerv1.WatchTokensResponse_Entry_Failure{Failure: &brokerv1.Failure{Code: 7}}},
	} {
		b, err := proto.Marshal(&brokerv1.WatchTokensResponse{Entries: []*brokerv1.WatchTokensResponse_Entry{e, e}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		var set brokerv1.WatchTokensResponse
		if proto.Unmarshal(message, &set) != nil {
			return
		}
		a, now := Ask{Mailbox: "A@contoso.com", Direction: Inbound}, time.Now()
		h := &held{ask: a, refused: secret.New("refused").Fingerprint()}
		c := &Cache{log: slog.New(slog.DiscardHandler), sides: map[side]*held{a.side(): h}}
		c.received(&feed{cache: c, sides: c.sides}, []*brokerv1.Selector{selector(a)}, &set, now)
		tok, ok, _ := c.find(a, now)
		if ok && (tok.Value.Empty() || tok.Value.Reveal() == "refused" || !tok.Usable(now)) {
			t.Errorf("gave out %v", tok)
		}
		if len(c.sides) != 1 {
			t.Error("a set made the cache watch more than was asked for")
		}
	})
}
