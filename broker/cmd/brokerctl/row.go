package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// row is one side of a mailbox as people and scripts read it. Scripts rely on the JSON names: they stay.
type row struct {
	Mailbox      string    `json:"mailbox"`
	Side         string    `json:"side"` // in or out
	Protocol     string    `json:"protocol"`
	Grant        string    `json:"grant"`
	Credential   string    `json:"credential,omitempty"` // sides of the same one share tokens
	State        string    `json:"state"`                // one of states
	Class        string    `json:"class,omitempty"`      // one of classes: who or what can end the failure
	Reason       string    `json:"reason,omitempty"`
	Remedy       string    `json:"remedy,omitempty"` // who must do what
	FailingSince time.Time `json:"failing_since,omitzero"`
	NextTry      time.Time `json:"next_try,omitzero"`
	TokenExpires time.Time `json:"token_expires,omitzero"`
	LastToken    time.Time `json:"last_token,omitzero"`
	ActBefore    time.Time `json:"act_before,omitzero"` // a person must have acted by then
	Because      string    `json:"because,omitempty"`   // what ends then
	Minted       int64     `json:"tokens_minted"`       // by this broker, since its start
}

// The states that are not the broker's own words.
const (
	expiring = "expiring" // it works, and a person must act soon
	unknown  = "unknown"  // a state that this version does not know
)

// states are what a side can be in, those that need a person first: the order of lists.
var states = []string{"frozen", "degraded", expiring, "waiting", unknown, "unused", "healthy"}

var classes = []string{"needs-admin", "needs-user", "wrong-config", "throttled", "transient"}

var protocols = []string{"POP3", "IMAP", "SMTP", "EWS", "GRAPH"}

// rowOf reads a status. A person who must act within soon of now makes a side that works an expiring one; 0 = never.
func rowOf(st *brokerv1.MailboxStatus, now time.Time, soon time.Duration) row {
	r := row{
		Mailbox: st.GetSelector().GetMailbox(), Side: sideOf(st.GetSelector()), Protocol: enum(st.GetProtocol().String(), "PROTOCOL_"), Grant: st.GetGrant(),
		Credential: st.GetCredential(), State: stateOf(st.GetState()), Class: strings.ToLower(enum(st.GetFailureClass().String(), "FAILURE_CLASS_")),
		Reason: st.GetReason(), Remedy: st.GetRemedy(), FailingSince: at(st.GetFailingSinceTime()), NextTry: at(st.GetNextAttemptTime()),
		TokenExpires: at(st.GetExpireTime()), LastToken: at(st.GetLastSuccessTime()), ActBefore: at(st.GetActionDueTime()), Because: st.GetActionDueReason(), Minted: st.GetMinted(),
	}
	if (r.State == "healthy" || r.State == "unused") && !r.ActBefore.IsZero() && r.ActBefore.Sub(now) < soon {
		r.State = expiring
	}
	return r
}

// troubled says whether somebody should look at it.
func (r row) troubled() bool { return r.State != "healthy" && r.State != "unused" }

// byNeed puts first what needs a person, and of those what is due first.
func byNeed(rows []row) {
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(slices.Index(states, a.State), slices.Index(states, b.State)), cmp.Compare(a.urgency(), b.urgency()),
			cmp.Compare(strings.ToLower(a.Mailbox), strings.ToLower(b.Mailbox)))
	})
}

// urgency orders sides of one state: what has a day comes before what has none.
func (r row) urgency() int64 {
	if r.ActBefore.IsZero() {
		return 1 << 62
	}
	return r.ActBefore.Unix()
}

func sideOf(s *brokerv1.Selector) string {
	if s.GetDirection() == brokerv1.Direction_DIRECTION_OUTBOUND {
		return "out"
	}
	return "in"
}

func stateOf(s brokerv1.State) string {
	name := strings.ToLower(enum(s.String(), "STATE_"))
	if !slices.Contains(states, name) {
		return unknown
	}
	return name
}

// enum is an enum's value as people write it: NEEDS-ADMIN. The unspecified one is empty.
func enum(value, prefix string) string {
	if value = strings.TrimPrefix(value, prefix); value == "UNSPECIFIED" {
		return ""
	}
	return strings.ReplaceAll(value, "_", "-")
}

func at(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
