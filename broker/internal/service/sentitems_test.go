package service

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"mailporter/broker/internal/directory"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// TestSentItems: the way to the sent mail is that of the inbound side, with the proxy of all mail servers.
func TestSentItems(t *testing.T) {
	s := &directory.Section{Mailbox: "a@contoso.com", Direction: directory.Outbound, Protocol: directory.SMTP, Post: &directory.Post{}}
	if got := settingsOf(s, "").GetOutbound().GetSentItems(); got != nil {
		t.Errorf("without the option: %v", got)
	}
	s.Post.SentItems = &directory.SentItems{
		Protocol: directory.EWS, Mechanism: directory.Bearer, Margin: 10 * time.Second, Impersonate: true, Folder: "Sent/2026",
		Endpoint: directory.Endpoint{Server: "mail.example", Port: 443, Security: directory.TLS, User: "a@contoso.com", ConnectTimeout: time.Second, ProtocolTimeout: time.Minute},
	}
	want := &brokerv1.SentItems{
		Protocol: brokerv1.Protocol_PROTOCOL_EWS, Margin: durationpb.New(10 * time.Second), Folder: "Sent/2026",
		Endpoint: &brokerv1.Endpoint{
			Server: "mail.example", Port: 443, Security: brokerv1.Security_SECURITY_TLS, User: "a@contoso.com", Mechanism: brokerv1.Mechanism_MECHANISM_BEARER,
			ConnectTimeout: durationpb.New(time.Second), ProtocolTimeout: durationpb.New(time.Minute), Proxy: "http://p:1", Impersonate: true,
		},
	}
	if got := settingsOf(s, "http://p:1").GetOutbound().GetSentItems(); !proto.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
}
