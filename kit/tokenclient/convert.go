package tokenclient

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
	"mailporter/kit/secret"
)

// The constants of words.go count as those of the contract do, so a conversion is a cast; a test holds them together.

func selector(a Ask) *brokerv1.Selector {
	return &brokerv1.Selector{Mailbox: a.Mailbox, Direction: brokerv1.Direction(a.Direction)}
}

func askMessage(a Ask) *brokerv1.AcquireTokenRequest {
	req := &brokerv1.AcquireTokenRequest{Selector: selector(a), NewerThanGeneration: a.NewerThan}
	if a.MinValidity > 0 {
		req.MinValidity = durationpb.New(a.MinValidity)
	}
	return req
}

// fromAnswer turns an answer that arrived at now into a Token; problem is empty, or says how the answer breaks the
// contract.
func fromAnswer(res *brokerv1.AcquireTokenResponse, now time.Time) (tok Token, problem string) {
	switch c := res.GetCredential().(type) {
	case *brokerv1.AcquireTokenResponse_Password:
		tok = Token{Value: secret.New(c.Password.GetValue()), User: c.Password.GetUser(), Mechanism: Basic}
	case *brokerv1.AcquireTokenResponse_AccessToken:
		if c.AccessToken.GetValidFor() == nil || c.AccessToken.GetUsableFor() == nil {
			return Token{}, "an access token without valid_for or usable_for"
		}
		tok = fromAccessToken(c.AccessToken, now)
	}
	if tok.Value.Empty() {
		return Token{}, "an answer without a credential"
	}
	tok.Warning = res.GetWarning()
	return tok, ""
}

// fromAccessToken counts all times from now, this machine's clock: the broker's may differ. What is left of the clock's
// monotonic reading makes later comparisons immune to the clock being set.
func fromAccessToken(t *brokerv1.AccessToken, now time.Time) Token {
	value := secret.New(t.GetValue())
	expires := now.Add(t.GetValidFor().AsDuration())
	return Token{
		Value:       value,
		User:        t.GetSaslUser(),
		Mechanism:   Mechanism(t.GetMechanism()),
		Expires:     expires,
		UsableUntil: now.Add(t.GetUsableFor().AsDuration()),
		Renews:      expires.Add(t.GetRenewTime().AsTime().Sub(t.GetExpireTime().AsTime())),
		Fingerprint: value.Fingerprint(),
		Generation:  t.GetGeneration(),
	}
}

func rejectMessage(a Ask, t Token, r Refusal) *brokerv1.ReportRejectionRequest {
	sum := t.Value.Fingerprint()
	return &brokerv1.ReportRejectionRequest{
		Selector:    selector(a),
		Fingerprint: sum[:],
		Kind:        brokerv1.RejectionKind(r.Kind),
		Server:      r.Server,
		Reply:       scrub(r.Reply, t),
		RejectTime:  timestamppb.New(r.At),
	}
}

func fromOutcome(res *brokerv1.ReportRejectionResponse) Outcome {
	return Outcome{Kind: OutcomeKind(res.GetOutcome()), Wait: res.GetRetryDelay().AsDuration(), Remedy: res.GetRemedy(), Reason: res.GetReason()}
}

func fromSettings(m *brokerv1.MailboxSettings) Settings {
	return Settings{
		Mailbox:   m.GetSelector().GetMailbox(),
		Direction: Direction(m.GetSelector().GetDirection()),
		Protocol:  Protocol(m.GetProtocol()),
		Endpoint:  fromEndpoint(m.GetEndpoint()),
		Margin:    m.GetMargin().AsDuration(),
		Inbound:   fromInbound(m.GetInbound()),
		Outbound:  fromOutbound(m.GetOutbound()),
		Version:   m.GetVersion(),
	}
}

func fromEndpoint(e *brokerv1.Endpoint) Endpoint {
	return Endpoint{
		Server:          e.GetServer(),
		Port:            int(e.GetPort()),
		Security:        Security(e.GetSecurity()),
		User:            e.GetUser(),
		Mechanism:       Mechanism(e.GetMechanism()),
		ConnectTimeout:  e.GetConnectTimeout().AsDuration(),
		ProtocolTimeout: e.GetProtocolTimeout().AsDuration(),
		Proxy:           e.GetProxy(),
		TwoLine:         e.GetTwoLineAuthentication(),
		Impersonate:     e.GetImpersonate(),
	}
}

func fromInbound(s *brokerv1.InboundSettings) InboundSettings {
	return InboundSettings{
		Folders:      s.GetFolders(),
		CycleTime:    s.GetCycleTime().AsDuration(),
		MaxSize:      s.GetMaximumMessageSizeBytes(),
		MaxNumber:    int(s.GetMaximumMessageNumber()),
		After:        After(s.GetAfter()),
		AfterFolder:  s.GetAfterFolder(),
		FailedFolder: s.GetFailedItemsFolder(),
		Junk:         Junk(s.GetJunk()),
		DeliverTo:    s.GetDeliverTo(),
	}
}

func fromOutbound(s *brokerv1.OutboundSettings) OutboundSettings {
	return OutboundSettings{
		PoolSize:      int(s.GetPoolSize()),
		CheckIdle:     s.GetCheckIdleTime().AsDuration(),
		MaxIdle:       s.GetMaxIdleTime().AsDuration(),
		OnUnknown:     OnUnknown(s.GetOnUnknown()),
		SenderAliases: s.GetSenderAliases(),
		AllowDelegate: s.GetAllowDelegate(),
		Limits:        fromLimits(s.GetLimits()),
		SentItems:     fromSentItems(s.GetSentItems()),
	}
}

func fromSentItems(m *brokerv1.SentItems) *SentItems {
	if m == nil {
		return nil
	}
	return &SentItems{
		Protocol: Protocol(m.GetProtocol()),
		Endpoint: fromEndpoint(m.GetEndpoint()),
		Margin:   m.GetMargin().AsDuration(),
		Folder:   m.GetFolder(),
	}
}

// fromLimits leaves out what a newer broker counts and this client does not know.
func fromLimits(all []*brokerv1.SendLimit) (out []Limit) {
	for _, l := range all {
		if u := Unit(l.GetUnit()); u.String() != "" && l.GetMost() > 0 && l.GetWindow().AsDuration() > 0 {
			out = append(out, Limit{u, l.GetMost(), l.GetWindow().AsDuration()})
		}
	}
	return out
}
