package service

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/kit/secret"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// reply is an answer with a token, and the parts that it points to. One is made for every call, so they are allocated
// together.
type reply struct {
	response              brokerv1.AcquireTokenResponse
	credential            brokerv1.AcquireTokenResponse_AccessToken
	token                 brokerv1.AccessToken
	expire, usable, renew timestamppb.Timestamp
	validFor, usableFor   durationpb.Duration
	fingerprint           secret.Fingerprint
}

func answer(s *directory.Section, h keeper.Handout, now time.Time) *brokerv1.AcquireTokenResponse {
	r := &reply{fingerprint: h.Fingerprint}
	t := &r.token
	t.Value, t.Generation, t.Fingerprint = h.Token.Value.Reveal(), h.Token.Generation, r.fingerprint[:]
	t.SaslUser, t.Mechanism = s.Endpoint.User, mechanismOut(s.Mechanism)
	t.ExpireTime, t.ValidFor = at(&r.expire, h.Token.Expires), lasting(&r.validFor, h.Token.Expires.Sub(now))
	t.UsableUntil, t.UsableFor = at(&r.usable, h.UsableUntil), lasting(&r.usableFor, h.UsableUntil.Sub(now))
	t.RenewTime = at(&r.renew, h.RenewAt)
	r.credential.AccessToken, r.response.Credential = t, &r.credential
	if h.Warning != nil {
		r.response.Warning = h.Warning.Reason + ": " + h.Warning.Remedy
	}
	return &r.response
}

// at is timestamppb.New in a place that is there already.
func at(place *timestamppb.Timestamp, t time.Time) *timestamppb.Timestamp {
	place.Seconds, place.Nanos = t.Unix(), int32(t.Nanosecond())
	return place
}

// lasting is durationpb.New in a place that is there already.
func lasting(place *durationpb.Duration, d time.Duration) *durationpb.Duration {
	place.Seconds, place.Nanos = int64(d/time.Second), int32(d%time.Second)
	return place
}
