package service

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func TestAnswer(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	tok := token.Token{Value: secret.New("T"), Sent: now, Expires: now.Add(time.Hour + 7), Generation: 9}
	sum := tok.Value.Fingerprint()
	for name, tc := range map[string]struct{ usable, renew time.Time }{
		"outside the margin": {now.Add(50*time.Minute + 3), now.Add(45 * time.Minute)},
		"inside by now":      {now.Add(-1500 * time.Millisecond), now.Add(-time.Minute)},
		"before 1970":        {time.Date(1969, 12, 31, 23, 59, 59, 999, time.UTC), time.Unix(-1, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			want := &brokerv1.AcquireTokenResponse{Credential: &brokerv1.AcquireTokenResponse_AccessToken{AccessToken: &brokerv1.AccessToken{
				Value: "T", SaslUser: "u", Mechanism: brokerv1.Mechanism_MECHANISM_XOAUTH2, Fingerprint: sum[:], Generation: 9,
				ExpireTime: timestamppb.New(tok.Expires), UsableUntil: timestamppb.New(tc.usable), RenewTime: timestamppb.New(tc.renew),
				ValidFor: durationpb.New(tok.Expires.Sub(now)), UsableFor: durationpb.New(tc.usable.Sub(now))}}}
			got := answer(&directory.Section{Endpoint: directory.Endpoint{User: "u"}, Mechanism: directory.XOAUTH2},
				keeper.Handout{Token: tok, Fingerprint: sum, UsableUntil: tc.usable, RenewAt: tc.renew}, now)
			if !proto.Equal(got, want) {
				a := got.GetAccessToken()
				t.Errorf("expires %v, in %v; usable until %v, for %v; renewed at %v", a.GetExpireTime(), a.GetValidFor(), a.GetUsableUntil(), a.GetUsableFor(), a.GetRenewTime())
			}
		})
	}
}
