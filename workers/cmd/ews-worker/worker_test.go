package main

import (
	"net/url"
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/workers/internal/program/programtest"
)

var fetching = programtest.Inbound{
	App: worker.App(), Protocol: tokenclient.EWS, Mechanism: tokenclient.Bearer, Role: "full_access_as_app", Audience: idp.Outlook365,
	Impersonate: true, Address: address,
}

func TestMailArrives(t *testing.T) { programtest.Fetches(t, fetching) }

func TestTheRulesAreFollowed(t *testing.T) { programtest.FollowsTheRules(t, fetching) }

func TestMailArrivesWithoutTheBroker(t *testing.T) { programtest.FetchesWithoutTheBroker(t, fetching) }

var both = programtest.Both{
	App: worker.App(), Protocol: tokenclient.EWS, Mechanism: tokenclient.Bearer, Roles: []string{"full_access_as_app"}, Audience: idp.Outlook365,
	Impersonate: true, Address: address,
}

func TestMailGoesRound(t *testing.T) { programtest.Circle(t, both) }

// TestCorrespondentsStayOutOfTheLog: EWS cites whom it did not like.
func TestCorrespondentsStayOutOfTheLog(t *testing.T) {
	programtest.KeepsQuiet(t, both, fault.Rule{Target: fault.EWS, Step: "create", Action: fault.Reply, Status: 200,
		Body: `<Envelope><Body><A><ResponseMessages><M ResponseClass="Error"><MessageText>One of the recipients, ` + programtest.Correspondents[2] +
			`, is invalid.</MessageText><ResponseCode>ErrorInvalidRecipients</ResponseCode></M></ResponseMessages></A></Body></Envelope>`})
}

func TestReports(t *testing.T) { programtest.Reported(t, both) }

func address(sb *sandbox.Sandbox) string {
	u, err := url.Parse(sb.EWSURL())
	if err != nil {
		panic(err)
	}
	return u.Host
}
