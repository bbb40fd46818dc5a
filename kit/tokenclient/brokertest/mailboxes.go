package brokertest

import (
	"google.golang.org/protobuf/types/known/durationpb"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
	"mailporter/kit/tokenclient"
)

type mailboxService struct {
	brokerv1.UnimplementedMailboxServiceServer
	broker *Broker
}

func (s *mailboxService) WatchMailboxes(req *brokerv1.WatchMailboxesRequest, out brokerv1.MailboxService_WatchMailboxesServer) error {
	for {
		set, changed := s.broker.watched(tokenclient.Protocol(req.GetProtocol()), tokenclient.Direction(req.GetDirection()))
		if err := out.Send(set); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-out.Context().Done():
			return out.Context().Err()
		}
	}
}

// watched is the set that matches, and what closes when it changes.
func (b *Broker) watched(p tokenclient.Protocol, d tokenclient.Direction) (*brokerv1.WatchMailboxesResponse, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	set := &brokerv1.WatchMailboxesResponse{}
	for _, s := range b.settings {
		if (p == 0 || s.Protocol == p) && (d == 0 || s.Direction == d) {
			set.Mailboxes = append(set.Mailboxes, settingsMessage(s))
		}
	}
	return set, b.changed
}

func settingsMessage(s tokenclient.Settings) *brokerv1.MailboxSettings {
	m := &brokerv1.MailboxSettings{
		Selector: &brokerv1.Selector{Mailbox: s.Mailbox, Direction: brokerv1.Direction(s.Direction)},
		Protocol: brokerv1.Protocol(s.Protocol),
		Endpoint: endpointMessage(s.Endpoint),
		Margin:   durationpb.New(s.Margin),
		Version:  s.Version,
	}
	if s.Direction == tokenclient.Outbound {
		m.Side = &brokerv1.MailboxSettings_Outbound{Outbound: outboundMessage(s.Outbound)}
	} else {
		m.Side = &brokerv1.MailboxSettings_Inbound{Inbound: inboundMessage(s.Inbound)}
	}
	return m
}

func endpointMessage(e tokenclient.Endpoint) *brokerv1.Endpoint {
	return &brokerv1.Endpoint{
		Server:                e.Server,
		Port:                  uint32(e.Port),
		Security:              brokerv1.Security(e.Security),
		User:                  e.User,
		Mechanism:             brokerv1.Mechanism(e.Mechanism),
		ConnectTimeout:        durationpb.New(e.ConnectTimeout),
		ProtocolTimeout:       durationpb.New(e.ProtocolTimeout),
		Proxy:                 e.Proxy,
		TwoLineAuthentication: e.TwoLine, Impersonate: e.Impersonate,
	}
}

func inboundMessage(s tokenclient.InboundSettings) *brokerv1.InboundSettings {
	return &brokerv1.InboundSettings{
		Folders:                 s.Folders,
		CycleTime:               durationpb.New(s.CycleTime),
		MaximumMessageSizeBytes: s.MaxSize,
		MaximumMessageNumber:    int32(s.MaxNumber),
		After:                   brokerv1.After(s.After),
		AfterFolder:             s.AfterFolder,
		FailedItemsFolder:       s.FailedFolder,
		Junk:                    brokerv1.Junk(s.Junk),
		DeliverTo:               s.DeliverTo,
	}
}

func outboundMessage(s tokenclient.OutboundSettings) *brokerv1.OutboundSettings {
	return &brokerv1.OutboundSettings{
		PoolSize:      int32(s.PoolSize),
		CheckIdleTime: durationpb.New(s.CheckIdle),
		MaxIdleTime:   durationpb.New(s.MaxIdle),
		OnUnknown:     brokerv1.OnUnknown(s.OnUnknown),
		SenderAliases: s.SenderAliases,
		AllowDelegate: s.AllowDelegate,
		Limits:        limitMessages(s.Limits),
		SentItems:     sentItemsMessage(s.SentItems),
	}
}

func sentItemsMessage(s *tokenclient.SentItems) *brokerv1.SentItems {
	if s == nil {
		return nil
	}
	return &brokerv1.SentItems{
		Protocol: brokerv1.Protocol(s.Protocol),
		Endpoint: endpointMessage(s.Endpoint),
		Margin:   durationpb.New(s.Margin),
		Folder:   s.Folder,
	}
}

func limitMessages(all []tokenclient.Limit) (out []*brokerv1.SendLimit) {
	for _, l := range all {
		out = append(out, &brokerv1.SendLimit{Unit: brokerv1.Unit(l.Unit), Most: l.Most, Window: durationpb.New(l.Window)})
	}
	return out
}
