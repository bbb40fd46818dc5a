package main

import (
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	"mailporter/workers/internal/program/programtest"
)

func TestMailArrives(t *testing.T) {
	programtest.Fetches(t, programtest.Inbound{
		App: worker.App(), Protocol: tokenclient.POP3, Mechanism: tokenclient.XOAUTH2, Role: "POP.AccessAsApp", Audience: "https://outlook.office365.com",
		TwoLine: true, Address: (*sandbox.Sandbox).POP3Addr,
	})
}
