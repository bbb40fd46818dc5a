package main

import (
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/workers/internal/program/programtest"
)

var fetching = programtest.Inbound{
	App: worker.App(), Protocol: tokenclient.IMAP, Mechanism: tokenclient.XOAUTH2, Role: "IMAP.AccessAsApp", Audience: idp.Outlook365,
	Address: (*sandbox.Sandbox).IMAPAddr,
	Interrupt: func(sb *sandbox.Sandbox, mailbox string) {
		sb.Faults().Add(fault.Rule{Target: fault.IMAP, Step: "fetch", Mailbox: mailbox, Count: 1, Action: fault.Bye, Text: "going down"})
	},
	Logins: func(sb *sandbox.Sandbox) int { return sb.Stats().IMAP.Logins },
}

func TestMailArrives(t *testing.T) { programtest.Fetches(t, fetching) }

func TestTheRulesAreFollowed(t *testing.T) { programtest.FollowsTheRules(t, fetching) }

func TestMailArrivesWithoutTheBroker(t *testing.T) { programtest.FetchesWithoutTheBroker(t, fetching) }
