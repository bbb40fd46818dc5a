package service

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"mailporter/broker/internal/audit"
	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/policy"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/broker/internal/triage"
	"mailporter/kit/secret"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// longestValidity is the most that min_validity may ask for: tokens live about an hour.
const longestValidity = 55 * time.Minute

// AcquireToken implements the contract.
func (s *Server) AcquireToken(ctx context.Context, req *brokerv1.AcquireTokenRequest) (*brokerv1.AcquireTokenResponse, error) {
	d := directionIn(req.GetSelector().GetDirection())
	if d == "" {
		return nil, invalid("DIRECTION_MISSING", "selector.direction", "is not set").Err()
	}
	validity := req.GetMinValidity().AsDuration()
	if validity > longestValidity || validity < 0 {
		return nil, invalid("MIN_VALIDITY_TOO_LARGE", "min_validity", fmt.Sprintf("is not between 0 and %v", longestValidity)).Err()
	}
	c := s.open(ctx, "AcquireToken", req.GetSelector().GetMailbox(), d)
	section, no := c.permit(policy.Token)
	if no == nil {
		no = c.spend()
	}
	if no != nil {
		return nil, c.close(ctx, no)
	}
	answer, no := c.credential(ctx, section, validity, req.GetNewerThanGeneration())
	if err := c.close(ctx, no); err != nil {
		return nil, err
	}
	return answer, nil
}

// call is one call about one side of a mailbox, from who asks to the audit line.
type call struct {
	server  *Server
	entry   audit.Entry
	limit   policy.Decision
	section *directory.Section // nil = unknown
	start   time.Time
}

func (s *Server) open(ctx context.Context, method, mailbox string, d directory.Direction) *call {
	who := s.callerOf(ctx)
	c := &call{server: s, start: time.Now()}
	c.entry = audit.Entry{Time: c.start.UTC(), Request: s.requests.next(), Identity: who.identity, Peer: who.address, Method: method,
		Mailbox: clip(mailbox), Direction: string(d), Decision: audit.Deny}
	if box := s.Directory.Now().Find(mailbox); box != nil {
		c.section = box.Side(d)
	}
	return c
}

// clip bounds what a caller can put into the audit.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 320)], "?") }

// permit asks the policy. An unknown mailbox goes the same way as a known one and answers the same. verb Token becomes
// Password where the credential is one.
func (c *call) permit(verb policy.Verb) (*directory.Section, *refusal) {
	q := policy.Query{Identity: c.entry.Identity, Mailbox: strings.ToLower(c.entry.Mailbox), Verb: verb}
	if s := c.section; s != nil {
		q.Protocol = string(s.Protocol)
		c.entry.Protocol, c.entry.Grant = q.Protocol, string(s.Grant)
		if verb == policy.Token {
			q.TenantWide = s.Credential != nil && s.Credential.TenantWide
			c.entry.TenantWide = q.TenantWide
			if s.Grant == token.Basic {
				q.Verb = policy.Password
			}
		}
	}
	c.limit = c.server.Directory.Now().Policy.Decide(q)
	c.entry.Rule = c.limit.Rule
	if c.section == nil {
		c.entry.Rule = "unknown mailbox"
	}
	if c.section == nil || !c.limit.Allowed {
		return nil, deniedRefusal()
	}
	c.entry.Decision = audit.Allow
	return c.section, nil
}

// spend takes one call of the identity's rate.
func (c *call) spend() *refusal {
	if wait := c.server.limits.Take(c.entry.Identity, c.limit.Rate, c.start); wait > 0 {
		return rateLimited(wait)
	}
	return nil
}

// close writes the audit line and returns what the caller gets: no, or nil. Without the line there is no answer.
func (c *call) close(ctx context.Context, no *refusal) error {
	if err := c.write(no); err != nil {
		c.server.Log.Error("the audit cannot be written: nothing is handed out", "error", err)
		return unaudited().send(ctx)
	}
	if no != nil {
		return no.send(ctx)
	}
	return nil
}

// write writes the audit line: no is what the caller hears, or nil.
func (c *call) write(no *refusal) error {
	c.entry.Outcome = codes.OK.String()
	if no != nil {
		c.entry.Outcome, c.entry.Reason = no.code.String(), no.info.GetReason()
		if id := no.info.GetMetadata()["correlationId"]; id != "" {
			c.entry.Correlation = id
		}
	}
	c.entry.Latency = time.Since(c.start).Seconds()
	return c.server.Audit.Write(c.entry)
}

// credential gets what the section logs in with.
func (c *call) credential(ctx context.Context, s *directory.Section, validity time.Duration, newer int64) (*brokerv1.AcquireTokenResponse, *refusal) {
	if s.Credential == nil {
		return c.password(s)
	}
	h, err := c.server.Tokens.Ask(ctx, keeper.Wish{Credential: s.Credential, Audience: s.Audience, Margin: max(s.Margin, validity), NewerThan: newer})
	if err != nil {
		return nil, fromError(err, s.Credential)
	}
	return c.hand(s, h), nil
}

// password is the credential of a section that logs in without a token, or not at all.
func (c *call) password(s *directory.Section) (*brokerv1.AcquireTokenResponse, *refusal) {
	if s.Grant != token.Basic {
		return nil, refuse(codes.FailedPrecondition, "NO_LOGIN", string(remedy.WrongConfig), "this section does not log in, so there is no credential for it",
			"connect without authentication, or set enable-authentication: true")
	}
	if r, held := c.server.passwords.held(s, c.start); held {
		return nil, r.refusal(s, c.start)
	}
	return &brokerv1.AcquireTokenResponse{Credential: &brokerv1.AcquireTokenResponse_Password{Password: &brokerv1.Password{
		User: s.Endpoint.User, Value: s.Password.Reveal(), Mechanism: brokerv1.Mechanism_MECHANISM_BASIC}}}, nil
}

// hand notes for the audit which token leaves, and puts it into the contract's words.
func (c *call) hand(s *directory.Section, h keeper.Handout) *brokerv1.AcquireTokenResponse {
	c.entry.Generation, c.entry.Source, c.entry.Correlation = h.Token.Generation, string(h.Source), h.Token.Trace
	c.entry.Fingerprint, c.entry.Expires = h.Fingerprint.String(), h.Token.Expires.UTC().Format(time.RFC3339)
	return answer(s, h, time.Now())
}

// ReportRejection implements the contract.
func (s *Server) ReportRejection(ctx context.Context, req *brokerv1.ReportRejectionRequest) (*brokerv1.ReportRejectionResponse, error) {
	d := directionIn(req.GetSelector().GetDirection())
	switch {
	case d == "":
		return nil, invalid("DIRECTION_MISSING", "selector.direction", "is not set").Err()
	case len(req.GetFingerprint()) != sha256.Size:
		return nil, invalid("FINGERPRINT_INVALID", "fingerprint", "is not 32 bytes").Err()
	case req.GetKind() == brokerv1.RejectionKind_REJECTION_KIND_UNSPECIFIED:
		return nil, invalid("KIND_MISSING", "kind", "is not set").Err()
	}
	c := s.open(ctx, "ReportRejection", req.GetSelector().GetMailbox(), d)
	refused := secret.Fingerprint(req.GetFingerprint())
	c.entry.Fingerprint = refused.String()
	section, no := c.permit(policy.Report)
	if no != nil {
		return nil, c.close(ctx, no)
	}
	resp := c.reject(ctx, section, refused, req)
	if err := c.close(ctx, nil); err != nil {
		return nil, err
	}
	s.Log.Warn("a mail server refused a credential", "mailbox", section.Mailbox, "protocol", string(section.Protocol), "kind", req.GetKind().String(),
		"token", refused.String(), "server", clip(req.GetServer()), "outcome", resp.GetOutcome().String())
	return resp, nil
}

func (c *call) reject(ctx context.Context, s *directory.Section, refused secret.Fingerprint, req *brokerv1.ReportRejectionRequest) *brokerv1.ReportRejectionResponse {
	if s.Credential == nil {
		c.entry.Fingerprint = "" // a password's would be a hint
		return &brokerv1.ReportRejectionResponse{Outcome: brokerv1.RejectionOutcome_REJECTION_OUTCOME_SUPPRESSED,
			RetryDelay: durationpb.New(c.server.passwords.refuse(s, c.start)), Remedy: passwordRemedy}
	}
	if f := c.server.triage.Judge(reportOf(s, req), c.start); f != nil {
		c.entry.Reason = f.Reason
		return &brokerv1.ReportRejectionResponse{Outcome: brokerv1.RejectionOutcome_REJECTION_OUTCOME_SUPPRESSED, RetryDelay: durationpb.New(f.After), Remedy: f.Remedy, Reason: f.Reason}
	}
	r := c.server.Tokens.Reject(ctx, s.Credential, s.Audience, refused)
	resp := &brokerv1.ReportRejectionResponse{Outcome: outcomeOut(r.Outcome), CurrentGeneration: r.Generation}
	c.entry.Generation, c.entry.Reason = r.Generation, string(r.Outcome)
	if r.Fault != nil {
		resp.Reason, resp.Remedy, resp.RetryDelay = r.Fault.Reason, r.Fault.Remedy, durationpb.New(max(r.Fault.After, leastWait))
	}
	return resp
}

// reportOf is a report as the triage wants it.
func reportOf(s *directory.Section, req *brokerv1.ReportRejectionRequest) triage.Report {
	return triage.Report{
		Side: sideName(s), Version: s.Version, Server: clip(serverOf(s, req)), Reply: clip(req.GetReply()), Token: secret.Fingerprint(req.GetFingerprint()),
		Claims:  req.GetKind() == brokerv1.RejectionKind_REJECTION_KIND_CLAIMS_CHALLENGE,
		Session: req.GetKind() == brokerv1.RejectionKind_REJECTION_KIND_SESSION_EXPIRED,
	}
}

// serverOf is who refused the token: where workers do not tell, it is the configured one. Without a name, refusals of servers
// that have nothing to do with one another would look like one disturbance.
func serverOf(s *directory.Section, req *brokerv1.ReportRejectionRequest) string {
	if told := req.GetServer(); told != "" {
		return told
	}
	return net.JoinHostPort(s.Endpoint.Server, strconv.Itoa(s.Endpoint.Port))
}

func sideName(s *directory.Section) string {
	return strings.ToLower(s.Mailbox) + " " + string(s.Direction)
}
