package tokenclient

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// The conversions are casts: constants and words must count as the contract's enums do.
func TestWordsCountAsTheContract(t *testing.T) {
	for name, tc := range map[string]struct {
		words []string
		enum  protoreflect.Enum
	}{
		"direction":    {directions, brokerv1.Direction(0)},
		"protocol":     {protocols, brokerv1.Protocol(0)},
		"mechanism":    {mechanisms, brokerv1.Mechanism(0)},
		"security":     {securities, brokerv1.Security(0)},
		"after":        {afters, brokerv1.After(0)},
		"junk":         {junks, brokerv1.Junk(0)},
		"on-unknown":   {onUnknowns, brokerv1.OnUnknown(0)},
		"refusal kind": {refusalKinds, brokerv1.RejectionKind(0)},
		"outcome":      {outcomeKinds, brokerv1.RejectionOutcome(0)},
	} {
		t.Run(name, func(t *testing.T) {
			values := tc.enum.Descriptor().Values()
			if values.Len() != len(tc.words) {
				t.Fatalf("%d words for %d values", len(tc.words), values.Len())
			}
			for i := 1; i < values.Len(); i++ {
				if values.Get(i).Number() != protoreflect.EnumNumber(i) {
					t.Errorf("%s is %d", values.Get(i).Name(), values.Get(i).Number())
				}
			}
		})
	}
	for value, want := range map[string]protoreflect.Enum{
		fmt.Sprint(int(Outbound)):        brokerv1.Direction_DIRECTION_OUTBOUND,
		fmt.Sprint(int(Graph)):           brokerv1.Protocol_PROTOCOL_GRAPH,
		fmt.Sprint(int(OAUTHBEARER)):     brokerv1.Mechanism_MECHANISM_OAUTHBEARER,
		fmt.Sprint(int(StartTLS)):        brokerv1.Security_SECURITY_START_TLS,
		fmt.Sprint(int(MarkRead)):        brokerv1.After_AFTER_MARK_READ,
		fmt.Sprint(int(JunkIgnore)):      brokerv1.Junk_JUNK_IGNORE,
		fmt.Sprint(int(HoldUnknown)):     brokerv1.OnUnknown_ON_UNKNOWN_HOLD,
		fmt.Sprint(int(RefusedInFlight)): brokerv1.RejectionKind_REJECTION_KIND_SESSION_EXPIRED,
		fmt.Sprint(int(Suppressed)):      brokerv1.RejectionOutcome_REJECTION_OUTCOME_SUPPRESSED,
	} {
		if value != fmt.Sprint(int(want.Number())) {
			t.Errorf("%v is %s here", want, value)
		}
	}
}

func TestWordsParse(t *testing.T) {
	check := func(name string, got fmt.Stringer, err error, want fmt.Stringer) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
	}
	d, err := ParseDirection("Inbound")
	check("direction", d, err, Inbound)
	p, err := ParseProtocol("graph")
	check("protocol", p, err, Graph)
	m, err := ParseMechanism("xoauth2")
	check("mechanism", m, err, XOAUTH2)
	m, err = ParseMechanism("none")
	check("no mechanism", m, err, NoLogin)
	s, err := ParseSecurity("none")
	check("security", s, err, PlainText)
	a, err := ParseAfter("MARK-READ")
	check("after", a, err, MarkRead)
	j, err := ParseJunk("ignore")
	check("junk", j, err, JunkIgnore)
	o, err := ParseOnUnknown("hold")
	check("on-unknown", o, err, HoldUnknown)

	if _, err := ParseAfter("read"); err == nil || !strings.Contains(err.Error(), `"read" is no disposition; use one of: keep, mark-read, move, delete`) {
		t.Errorf("unhelpful: %v", err)
	}
	if _, err := ParseJunk("unset"); err == nil {
		t.Error("the word for nothing must not be read")
	}
	if got := Protocol(99).String(); got != "unknown(99)" {
		t.Error(got)
	}
}
