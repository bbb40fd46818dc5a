package service

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"mailporter/broker/internal/remedy"
)

// Accounts verifies the service-account tokens of callers that show no certificate. It is called once for each of their
// calls. The identity begins with identity.ServiceAccounts; until is when the token ends; the error is a *remedy.Fault.
type Accounts interface {
	Verify(ctx context.Context, token string) (identity string, until time.Time, err error)
}

// insecure is every caller's identity where there is no TLS.
const insecure = "insecure"

// caller is who asks, and from where. It is not changed once a call knows it.
type caller struct {
	identity string // empty: not proved
	address  string
	local    bool      // from this machine
	until    time.Time // when the proof ends; zero: with the connection
}

type callerKey struct{}

// callerOf is who admit found out about. Outside of a call it is nobody.
func (s *Server) callerOf(ctx context.Context) caller {
	if c, ok := ctx.Value(callerKey{}).(*caller); ok {
		return *c
	}
	return caller{}
}

// identify finds out who asks: by the verified client certificate of the connection, else by a service-account token if
// those are accepted. A certificate wins: a token beside it is not looked at, good or bad, so that a worker that is being
// moved from the one to the other has one identity at every moment.
func (s *Server) identify(ctx context.Context) (*caller, *refusal) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return &caller{}, noPeer()
	}
	conn, ok := p.AuthInfo.(*connection)
	switch {
	case !ok:
		return &caller{}, noPeer()
	case conn.caller.identity != "":
		return &conn.caller, nil
	case conn.certified:
		return &conn.caller, anonymous("the client certificate names nobody", "give the worker a certificate with a SPIFFE URI, a DNS name or a common name")
	case s.Accounts == nil:
		return &conn.caller, anonymous("there is no client certificate", "give the worker a certificate")
	}
	c := conn.caller // of this call alone: the next one may bring another token
	return &c, s.prove(ctx, &c)
}

func noPeer() *refusal {
	return refuse(codes.Internal, "INTERNAL", string(remedy.Transient), "the call has no peer", "report this with the broker's log")
}

// prove makes the caller the one whose token came with the call.
func (s *Server) prove(ctx context.Context, c *caller) *refusal {
	token, no := bearer(ctx)
	if no != nil {
		return no
	}
	identity, until, err := s.Accounts.Verify(ctx, token)
	var f *remedy.Fault
	switch {
	case err == nil:
		c.identity, c.until = identity, until
		return nil
	case !errors.As(err, &f):
		return fromError(err, nil)
	case f.Class == remedy.Transient:
		no = refuse(codes.Unavailable, f.Reason, string(f.Class), "the caller's token cannot be verified: "+f.Detail, f.Remedy)
		no.after = max(f.After, leastWait)
	default:
		no = refuse(codes.Unauthenticated, f.Reason, string(f.Class), "the caller's token: "+f.Detail, f.Remedy)
	}
	return no
}

func anonymous(problem, remedyText string) *refusal {
	return refuse(codes.Unauthenticated, "CALLER_NOT_AUTHENTICATED", string(remedy.WrongConfig), problem, remedyText)
}

// bearer is the token of the metadata `authorization: Bearer TOKEN`, RFC 6750 section 2.1. Two would be a riddle.
func bearer(ctx context.Context) (string, *refusal) {
	const help = "send one: authorization: Bearer TOKEN, with the service-account token of the pod; or give the worker a certificate"
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	switch len(values) {
	case 0:
		return "", anonymous("there is neither a client certificate nor a bearer token", help)
	case 1:
	default:
		return "", anonymous("there is more than one authorization", help)
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", anonymous("the authorization is no bearer token", help)
	}
	return strings.TrimSpace(token), nil
}

// certificateOptional lets callers without a certificate through the handshake: a token must prove who they are. One that is
// shown must still be good.
func certificateOptional(conf *tls.Config) *tls.Config {
	conf = conf.Clone()
	conf.ClientAuth = tls.VerifyClientCertIfGiven
	of := conf.GetConfigForClient
	if of == nil {
		return conf
	}
	conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		now, err := of(hello)
		if err != nil || now == nil {
			return now, err
		}
		now = now.Clone()
		now.ClientAuth = tls.VerifyClientCertIfGiven
		return now, nil
	}
	return conf
}
