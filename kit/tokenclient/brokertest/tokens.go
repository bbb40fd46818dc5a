package brokertest

import (
	"context"
	"crypto/sha256"
	"errors"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
	"mailporter/kit/tokenclient"
)

type tokenService struct {
	brokerv1.UnimplementedTokenServiceServer
	broker *Broker
}

func (s *tokenService) AcquireToken(_ context.Context, req *brokerv1.AcquireTokenRequest) (*brokerv1.AcquireTokenResponse, error) {
	b := s.broker
	a := fromSelector(req.GetSelector())
	a.MinValidity, a.NewerThan = req.GetMinValidity().AsDuration(), req.GetNewerThanGeneration()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asks = append(b.asks, a)
	settings, ok := b.find(a)
	if !ok {
		return nil, denied(a)
	}
	known := b.side(a)
	if known.failure != nil {
		return nil, toStatus(known.failure)
	}
	margin := max(settings.Margin, a.MinValidity)
	basic := settings.Endpoint.Mechanism == tokenclient.Basic
	if !known.serves(a, margin, basic) {
		if err := b.renew(known, a, margin, basic); err != nil {
			return nil, toStatus(err)
		}
	}
	return known.answer(settings, margin), nil
}

// serves says whether the token of the day will do.
func (k *state) serves(a tokenclient.Ask, margin time.Duration, basic bool) bool {
	return k.token != nil && k.generation > a.NewerThan && (basic || time.Until(k.token.expires) > margin)
}

// renew mints; b.mu is held.
func (b *Broker) renew(k *state, a tokenclient.Ask, margin time.Duration, basic bool) error {
	value, expires, err := b.mint(a)
	if err != nil {
		return err
	}
	if !basic && time.Until(expires) <= margin {
		return &tokenclient.Error{Code: "FAILED_PRECONDITION", Reason: "TOKEN_LIFETIME_BELOW_MARGIN", Class: tokenclient.WrongConfig,
			Remedy: "lower token-expiry-margin-time", Message: "the token was born inside the margin"}
	}
	b.minted++
	left := time.Until(expires)
	k.token = &token{value: value, expires: expires, renews: expires.Add(-margin - (left-margin)/4)}
	k.generation = max(k.generation, a.NewerThan) + 1
	b.tellWatchers()
	return nil
}

func (k *state) answer(s tokenclient.Settings, margin time.Duration) *brokerv1.AcquireTokenResponse {
	if s.Endpoint.Mechanism == tokenclient.Basic {
		return &brokerv1.AcquireTokenResponse{Credential: &brokerv1.AcquireTokenResponse_Password{Password: &brokerv1.Password{
			User: s.Endpoint.User, Value: k.token.value, Mechanism: brokerv1.Mechanism_MECHANISM_BASIC}}}
	}
	left := time.Until(k.token.expires)
	sum := sha256.Sum256([]byte(k.token.value))
	return &brokerv1.AcquireTokenResponse{Credential: &brokerv1.AcquireTokenResponse_AccessToken{AccessToken: &brokerv1.AccessToken{
		Value:       k.token.value,
		SaslUser:    s.Endpoint.User,
		Mechanism:   brokerv1.Mechanism(s.Endpoint.Mechanism),
		ExpireTime:  timestamppb.New(k.token.expires),
		UsableUntil: timestamppb.New(k.token.expires.Add(-margin)),
		RenewTime:   timestamppb.New(earlier(k.token.renews, k.token.expires.Add(-margin))),
		ValidFor:    durationpb.New(left),
		UsableFor:   durationpb.New(left - margin),
		Fingerprint: sum[:],
		Generation:  k.generation,
	}}}
}

func (s *tokenService) ReportRejection(_ context.Context, req *brokerv1.ReportRejectionRequest) (*brokerv1.ReportRejectionResponse, error) {
	b := s.broker
	a := fromSelector(req.GetSelector())
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.find(a); !ok {
		return nil, denied(a)
	}
	known := b.side(a)
	current := known.token != nil && string(req.GetFingerprint()) == sum(known.token.value)
	b.rejections = append(b.rejections, Rejection{Ask: a, Current: current, Refusal: tokenclient.Refusal{
		Kind: tokenclient.RefusalKind(req.GetKind()), Server: req.GetServer(), Reply: req.GetReply(), At: req.GetRejectTime().AsTime()}})
	return b.outcome(known, current), nil
}

// outcome decides on a report; b.mu is held.
func (b *Broker) outcome(known *state, current bool) *brokerv1.ReportRejectionResponse {
	res := &brokerv1.ReportRejectionResponse{CurrentGeneration: known.generation}
	switch {
	case !current:
		res.Outcome = brokerv1.RejectionOutcome_REJECTION_OUTCOME_ALREADY_REPLACED
	case b.suppressed != nil:
		res.Outcome = brokerv1.RejectionOutcome_REJECTION_OUTCOME_SUPPRESSED
		res.RetryDelay, res.Remedy = durationpb.New(b.suppressed.Wait), b.suppressed.Remedy
	default:
		known.token = nil // nobody shall get it again
		b.tellWatchers()
		res.Outcome = brokerv1.RejectionOutcome_REJECTION_OUTCOME_REPLACING
	}
	return res
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func sum(value string) string {
	s := sha256.Sum256([]byte(value))
	return string(s[:])
}

func fromSelector(s *brokerv1.Selector) tokenclient.Ask {
	return tokenclient.Ask{Mailbox: s.GetMailbox(), Direction: tokenclient.Direction(s.GetDirection())}
}

func denied(a tokenclient.Ask) error { return toStatus(denial(a)) }

func denial(a tokenclient.Ask) *tokenclient.Error {
	return &tokenclient.Error{Code: "PERMISSION_DENIED", Reason: "POLICY_DENIED", Class: tokenclient.WrongConfig,
		Message: "policy does not let this caller use " + a.Mailbox, Remedy: "allow it in policy.yaml"}
}

// toStatus sends an error as the broker does: one ErrorInfo, and RetryInfo where there is a wait.
func toStatus(err error) error {
	var e *tokenclient.Error
	if !errors.As(err, &e) {
		return status.Error(codes.Unavailable, err.Error())
	}
	code := codes.FailedPrecondition
	if e.Code != "" && code.UnmarshalJSON([]byte(strconv.Quote(e.Code))) != nil {
		return status.Errorf(codes.Internal, "the test gave an unknown code: %s", e.Code)
	}
	st, err := status.New(code, e.Message).WithDetails(&errdetails.ErrorInfo{Reason: e.Reason, Domain: "mailporter",
		Metadata: map[string]string{"class": string(e.Class), "remedy": e.Remedy}})
	if err == nil && e.Wait > 0 {
		st, err = st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(e.Wait)})
	}
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return st.Err()
}
