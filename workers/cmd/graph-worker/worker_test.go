package main

import (
	"strings"
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
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

func TestMailGoesRound(t *testing.T) {
	programtest.Circle(t, programtest.Both{
		App: worker.App(), Protocol: tokenclient.Graph, Mechanism: tokenclient.Bearer, Roles: []string{"Mail.ReadWrite", "Mail.Send"},
		Audience: idp.Graph, Address: func(sb *sandbox.Sandbox) string { return strings.TrimPrefix(sb.GraphURL(), "https://") },
	})
}
