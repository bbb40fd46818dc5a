package service

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// directionIn is empty for DIRECTION_UNSPECIFIED and numbers that this version does not know.
func directionIn(d brokerv1.Direction) directory.Direction {
	switch d {
	case brokerv1.Direction_DIRECTION_INBOUND:
		return directory.Inbound
	case brokerv1.Direction_DIRECTION_OUTBOUND:
		return directory.Outbound
	}
	return ""
}

func directionOut(d directory.Direction) brokerv1.Direction {
	if d == directory.Inbound {
		return brokerv1.Direction_DIRECTION_INBOUND
	}
	return brokerv1.Direction_DIRECTION_OUTBOUND
}

var (
	protocols = map[directory.Protocol]brokerv1.Protocol{
		directory.POP3: brokerv1.Protocol_PROTOCOL_POP3, directory.IMAP: brokerv1.Protocol_PROTOCOL_IMAP, directory.SMTP: brokerv1.Protocol_PROTOCOL_SMTP,
		directory.EWS: brokerv1.Protocol_PROTOCOL_EWS, directory.Graph: brokerv1.Protocol_PROTOCOL_GRAPH,
	}
	securities = map[directory.Security]brokerv1.Security{
		directory.PlainText: brokerv1.Security_SECURITY_NONE, directory.StartTLS: brokerv1.Security_SECURITY_START_TLS,
		directory.TLS: brokerv1.Security_SECURITY_TLS,
	}
	afters = map[string]brokerv1.After{
		"keep": brokerv1.After_AFTER_KEEP, "mark-read": brokerv1.After_AFTER_MARK_READ, "move": brokerv1.After_AFTER_MOVE,
		"delete": brokerv1.After_AFTER_DELETE,
	}
	junks = map[string]brokerv1.Junk{
		"read": brokerv1.Junk_JUNK_READ, "count": brokerv1.Junk_JUNK_COUNT, "ignore": brokerv1.Junk_JUNK_IGNORE,
	}
	onUnknowns = map[string]brokerv1.OnUnknown{
		"retry": brokerv1.OnUnknown_ON_UNKNOWN_RETRY, "hold": brokerv1.OnUnknown_ON_UNKNOWN_HOLD,
	}
	classes = map[remedy.Class]brokerv1.FailureClass{
		remedy.NeedsAdmin: brokerv1.FailureClass_FAILURE_CLASS_NEEDS_ADMIN, remedy.NeedsUser: brokerv1.FailureClass_FAILURE_CLASS_NEEDS_USER,
		remedy.WrongConfig: brokerv1.FailureClass_FAILURE_CLASS_WRONG_CONFIG, remedy.Throttled: brokerv1.FailureClass_FAILURE_CLASS_THROTTLED,
		remedy.Transient: brokerv1.FailureClass_FAILURE_CLASS_TRANSIENT,
	}
	states = map[keeper.State]brokerv1.State{
		keeper.Unknown: brokerv1.State_STATE_UNUSED, keeper.Ready: brokerv1.State_STATE_HEALTHY, keeper.Degraded: brokerv1.State_STATE_DEGRADED,
		keeper.Waiting: brokerv1.State_STATE_WAITING, keeper.Frozen: brokerv1.State_STATE_FROZEN,
	}
)

// mechanismOut is a switch: it is on the way of every token.
func mechanismOut(m directory.Mechanism) brokerv1.Mechanism {
	switch m {
	case directory.XOAUTH2:
		return brokerv1.Mechanism_MECHANISM_XOAUTH2
	case directory.OAUTHBEARER:
		return brokerv1.Mechanism_MECHANISM_OAUTHBEARER
	case directory.Bearer:
		return brokerv1.Mechanism_MECHANISM_BEARER
	case directory.BasicLogin:
		return brokerv1.Mechanism_MECHANISM_BASIC
	}
	return brokerv1.Mechanism_MECHANISM_UNSPECIFIED
}

func outcomeOut(o keeper.Outcome) brokerv1.RejectionOutcome {
	switch o {
	case keeper.AlreadyReplaced:
		return brokerv1.RejectionOutcome_REJECTION_OUTCOME_ALREADY_REPLACED
	case keeper.Replacing:
		return brokerv1.RejectionOutcome_REJECTION_OUTCOME_REPLACING
	}
	return brokerv1.RejectionOutcome_REJECTION_OUTCOME_SUPPRESSED
}

func selector(s *directory.Section) *brokerv1.Selector {
	return &brokerv1.Selector{Mailbox: s.Mailbox, Direction: directionOut(s.Direction)}
}

// settingsOf is the section without its secrets. proxy is the way to mail servers, or empty.
func settingsOf(s *directory.Section, proxy string) *brokerv1.MailboxSettings {
	m := &brokerv1.MailboxSettings{
		Selector: selector(s),
		Protocol: protocols[s.Protocol],
		Endpoint: endpointOf(s.Endpoint, s.Mechanism, s.Impersonates(), proxy),
		Margin:   durationpb.New(s.Margin),
		Version:  s.Version,
	}
	if proxy != "" {
		m.Version += "+" + proxy
	}
	if s.Fetch != nil {
		m.Side = &brokerv1.MailboxSettings_Inbound{Inbound: inboundOf(s.Fetch)}
	} else {
		m.Side = &brokerv1.MailboxSettings_Outbound{Outbound: outboundOf(s.Post, proxy)}
	}
	return m
}

func endpointOf(e directory.Endpoint, m directory.Mechanism, impersonate bool, proxy string) *brokerv1.Endpoint {
	return &brokerv1.Endpoint{
		Server: e.Server, Port: uint32(e.Port), Security: securities[e.Security], User: e.User, Mechanism: mechanismOut(m),
		ConnectTimeout: durationpb.New(e.ConnectTimeout), ProtocolTimeout: durationpb.New(e.ProtocolTimeout), Proxy: proxy,
		TwoLineAuthentication: e.TwoLine, Impersonate: impersonate,
	}
}

func inboundOf(f *directory.Fetch) *brokerv1.InboundSettings {
	return &brokerv1.InboundSettings{
		Folders: f.Folders, CycleTime: durationpb.New(f.Cycle), MaximumMessageSizeBytes: f.MaxSize, MaximumMessageNumber: int32(f.MaxNumber),
		After: afters[f.After], AfterFolder: f.AfterFolder, FailedItemsFolder: f.FailedFolder, Junk: junks[f.Junk], DeliverTo: f.DeliverTo,
	}
}

func outboundOf(p *directory.Post, proxy string) *brokerv1.OutboundSettings {
	return &brokerv1.OutboundSettings{
		PoolSize: int32(p.PoolSize), CheckIdleTime: durationpb.New(p.CheckIdle), MaxIdleTime: durationpb.New(p.MaxIdle),
		OnUnknown: onUnknowns[p.OnUnknown], SenderAliases: p.SenderAliases, AllowDelegate: p.AllowDelegate,
		Limits: limitsOf(p.Limits), SentItems: sentItemsOf(p.SentItems, proxy),
	}
}

func sentItemsOf(s *directory.SentItems, proxy string) *brokerv1.SentItems {
	if s == nil {
		return nil
	}
	return &brokerv1.SentItems{
		Protocol: protocols[s.Protocol], Endpoint: endpointOf(s.Endpoint, s.Mechanism, s.Impersonate, proxy),
		Margin: durationpb.New(s.Margin), Folder: s.Folder,
	}
}

var units = map[string]brokerv1.Unit{
	"messages": brokerv1.Unit_UNIT_MESSAGES, "recipients": brokerv1.Unit_UNIT_RECIPIENTS, "bytes": brokerv1.Unit_UNIT_BYTES,
}

func limitsOf(all []directory.Limit) (out []*brokerv1.SendLimit) {
	for _, l := range all {
		out = append(out, &brokerv1.SendLimit{Unit: units[l.Unit], Most: l.Most, Window: durationpb.New(l.Window)})
	}
	return out
}

// statusOf is how the section's credential fares. A password is healthy until a worker reports otherwise.
func (s *Server) statusOf(ctx context.Context, sec *directory.Section) *brokerv1.MailboxStatus {
	out := &brokerv1.MailboxStatus{Selector: selector(sec), Protocol: protocols[sec.Protocol], Grant: string(sec.Grant), State: brokerv1.State_STATE_HEALTHY}
	if sec.Grant == token.Basic || sec.Grant == token.None {
		if r, held := s.passwords.held(sec, time.Now()); held {
			r.show(out)
		}
		return out
	}
	st := s.Tokens.Status(ctx, sec.Credential, sec.Audience)
	out.State, out.Credential, out.Generation = states[st.State], sec.Credential.Label, st.Generation
	if st.Fault != nil {
		out.FailureClass, out.Reason, out.Remedy = classes[st.Fault.Class], st.Fault.Reason, st.Fault.Remedy
	}
	if f, since := s.triage.Of(sideName(sec), sec.Version, time.Now()); f != nil && out.GetReason() == "" {
		// The credential is well; it is the mailbox that does not open with it.
		out.State, out.FailureClass, out.Reason, out.Remedy, st.Since = brokerv1.State_STATE_DEGRADED, classes[f.Class], f.Reason, f.Remedy, since
	}
	out.ExpireTime, out.NextAttemptTime = stamp(st.Expires), stamp(st.NextTry)
	due(out, st.Due, retires(sec))
	out.LastSuccessTime, out.FailingSinceTime, out.Minted = stamp(st.Minted), stamp(st.Since), st.Mints
	return out
}

// retires is when the provider switches the section's protocol off.
func retires(sec *directory.Section) keeper.Due {
	at, what := sec.Retires(time.Now())
	return keeper.Due{At: at, What: what}
}

// due is the earlier of what ends with the credential and what ends with the protocol.
func due(out *brokerv1.MailboxStatus, all ...keeper.Due) {
	var first keeper.Due
	for _, d := range all {
		if first.At.IsZero() || !d.At.IsZero() && d.At.Before(first.At) {
			first = d
		}
	}
	out.ActionDueTime, out.ActionDueReason = stamp(first.At), first.What
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
