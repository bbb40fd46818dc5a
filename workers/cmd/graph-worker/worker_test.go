package main

import (
	"strings"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/workers/internal/program/programtest"
)

var fetching = programtest.Inbound{
	App: worker.App(), Protocol: tokenclient.Graph, Mechanism: tokenclient.Bearer, Role: "Mail.ReadWrite", Audience: idp.Graph,
	Address: func(sb *sandbox.Sandbox) string { return strings.TrimPrefix(sb.GraphURL(), "https://") },
}

func TestMailArrives(t *testing.T) { programtest.Fetches(t, fetching) }

func TestTheRulesAreFollowed(t *testing.T) { programtest.FollowsTheRules(t, fetching) }

func TestMailArrivesWithoutTheBroker(t *testing.T) { programtest.FetchesWithoutTheBroker(t, fetching) }

var both = programtest.Both{
	App: worker.App(), Protocol: tokenclient.Graph, Mechanism: tokenclient.Bearer, Roles: []string{"Mail.ReadWrite", "Mail.Send"},
	Audience: idp.Graph, Address: func(sb *sandbox.Sandbox) string { return strings.TrimPrefix(sb.GraphURL(), "https://") },
}

func TestMailGoesRound(t *testing.T) { programtest.Circle(t, both) }

// TestCorrespondentsStayOutOfTheLog: Graph cites whom it did not like.
func TestCorrespondentsStayOutOfTheLog(t *testing.T) {
	programtest.KeepsQuiet(t, both, fault.Rule{Target: fault.Graph, Step: "send", Action: fault.Reply, Status: 400,
		Body: `{"error": {"code": "ErrorInvalidRecipients", "message": "At least one recipient isn't valid., '` + programtest.Correspondents[2] + `'"}}`})
}

func TestReports(t *testing.T) { programtest.Reported(t, both) }

// TestReadsAndSendsTogether: what one worker reads and another one sends is four requests at a time, together.
func TestReadsAndSendsTogether(t *testing.T) {
	slow := fault.Rule{Target: fault.Graph, Action: fault.Delay, Delay: 50 * time.Millisecond}
	programtest.Together(t, both, slow, func(sb *sandbox.Sandbox) int { return sb.Stats().Graph.Throttled })
}
