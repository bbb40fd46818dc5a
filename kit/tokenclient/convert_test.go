package tokenclient

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func accessToken(t *brokerv1.AccessToken) *brokerv1.AcquireTokenResponse {
	return &brokerv1.AcquireTokenResponse{Credential: &brokerv1.AcquireTokenResponse_AccessToken{AccessToken: t}}
}

// The broker's clock is three hours ahead: only lengths of time count.
func TestTokenTimesAreOnOurClock(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	theirs := now.Add(3 * time.Hour)
	tok, problem := fromAnswer(accessToken(&brokerv1.AccessToken{
		Value:       "t",
		ExpireTime:  timestamppb.New(theirs.Add(60 * time.Minute)),
		UsableUntil: timestamppb.New(theirs.Add(55 * time.Minute)),
		RenewTime:   timestamppb.New(theirs.Add(45 * time.Minute)),
		ValidFor:    durationpb.New(60 * time.Minute),
		UsableFor:   durationpb.New(55 * time.Minute),
	}), now)
	if problem != "" {
		t.Fatal(problem)
	}
	for name, tc := range map[string]struct {
		got  time.Time
		want time.Duration
	}{"expires": {tok.Expires, 60 * time.Minute}, "usable": {tok.UsableUntil, 55 * time.Minute}, "renews": {tok.Renews, 45 * time.Minute}} {
		if tc.got.Sub(now) != tc.want {
			t.Errorf("%s in %v, want %v", name, tc.got.Sub(now), tc.want)
		}
	}
}

func TestAnswersThatBreakTheContract(t *testing.T) {
	minute := durationpb.New(time.Minute)
	for name, tc := range map[string]struct {
		answer *brokerv1.AcquireTokenResponse
		want   string
	}{
		"nothing":       {&brokerv1.AcquireTokenResponse{}, "without a credential"},
		"empty token":   {accessToken(&brokerv1.AccessToken{ValidFor: minute, UsableFor: minute}), "without a credential"},
		"no valid_for":  {accessToken(&brokerv1.AccessToken{Value: "t", UsableFor: minute}), "without valid_for"},
		"no usable_for": {accessToken(&brokerv1.AccessToken{Value: "t", ValidFor: minute}), "usable_for"},
		"empty password": {&brokerv1.AcquireTokenResponse{Credential: &brokerv1.AcquireTokenResponse_Password{Password: &brokerv1.Password{User: "u"}}},
			"without a credential"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, problem := fromAnswer(tc.answer, time.Now()); !strings.Contains(problem, tc.want) {
				t.Errorf("%q", problem)
			}
		})
	}
}

func TestStatuses(t *testing.T) {
	foreign, err := status.New(codes.Unavailable, "x").WithDetails(&errdetails.ErrorInfo{Domain: "elsewhere", Reason: "R", Metadata: map[string]string{"class": "needs-user"}})
	if err != nil {
		t.Fatal(err)
	}
	odd, err := status.New(codes.FailedPrecondition, "x").WithDetails(&errdetails.ErrorInfo{Domain: domain, Reason: "R", Metadata: map[string]string{"class": "odd"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		err    error
		code   string
		reason string
		class  Class
		text   string
	}{
		"bare refusal":      {status.Error(codes.PermissionDenied, "no"), "PERMISSION_DENIED", "", WrongConfig, "op for m inbound: no"},
		"bare outage":       {status.Error(codes.Unavailable, "gone"), "UNAVAILABLE", "", Transient, "op for m inbound: gone"},
		"bare throttle":     {status.Error(codes.ResourceExhausted, "slow"), "RESOURCE_EXHAUSTED", "", Throttled, "op for m inbound: slow"},
		"too late":          {status.Error(codes.DeadlineExceeded, "late"), "DEADLINE_EXCEEDED", ReasonNoAnswer, Transient, "op for m inbound: BROKER_NO_ANSWER: late: context deadline exceeded"},
		"foreign detail":    {foreign.Err(), "UNAVAILABLE", "", Transient, "op for m inbound: x"},
		"unknown class":     {odd.Err(), "FAILED_PRECONDITION", "R", WrongConfig, "op for m inbound: R: x"},
		"no status":         {errors.New("eof"), "UNKNOWN", "", Transient, "op for m inbound: eof"},
		"control character": {status.Error(codes.Internal, "a\nb\x00c"), "INTERNAL", "", Transient, "op for m inbound: a b c"},
		"endless":           {status.Error(codes.Internal, strings.Repeat("x", 9999)), "INTERNAL", "", Transient, "op for m inbound: " + strings.Repeat("x", 1024)},
	} {
		t.Run(name, func(t *testing.T) {
			var e *Error
			if !errors.As(fromStatus(context.Background(), "op", Ask{Mailbox: "m", Direction: Inbound}, tc.err), &e) {
				t.Fatal("no *Error")
			}
			if e.Code != tc.code || e.Reason != tc.reason || e.Class != tc.class || e.Error() != tc.text {
				t.Errorf("%+v: %s", *e, e)
			}
		})
	}
}

func TestHost(t *testing.T) {
	for address, want := range map[string]string{
		"broker:9443":                  "broker",
		"dns:///broker:9443":           "broker",
		"dns:broker:9443":              "broker",
		"dns://8.8.8.8/broker:9443":    "broker",
		"passthrough:///127.0.0.1:9":   "127.0.0.1",
		"[::1]:9443":                   "::1",
		"dns:///[2001:db8::1]:443":     "2001:db8::1",
		"broker":                       "broker",
		"":                             "",
		"dns:///":                      "",
		"dns://broker:9443 (no slash)": "",
	} {
		if got := (Config{Address: address}).host(); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}

func FuzzScrub(f *testing.F) {
	f.Add("NO invalid token ey.JhbGc.iOi", "ey.JhbGc.iOi")
	f.Add(strings.Repeat("é", 400), "x")
	f.Fuzz(func(t *testing.T, reply, token string) {
		res := &brokerv1.AcquireTokenResponse{Credential: &brokerv1.AcquireTokenResponse_Password{Password: &brokerv1.Password{Value: token}}}
		tok, problem := fromAnswer(res, time.Now())
		got := scrub(reply, tok)
		if len(got) > maxReply {
			t.Errorf("%d bytes", len(got))
		}
		if problem == "" && strings.Contains(reply, token) && strings.Contains(got, token) && !strings.Contains("[secret]?", token) {
			t.Error("the token is still there")
		}
	})
}
