package main

import (
	"strings"

	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/store/seal"
	"mailporter/kit/config"
	"mailporter/kit/redisurl"
)

// check complains about what the start would stumble over: files and addresses that only the parts know how to read.
func check(root *config.Map, s directory.Settings) {
	if _, err := trusted(s.TrustedCA); err != nil {
		root.Complain("trusted-ca", err.Error(), "name PEM files with CA certificates")
	}
	if _, err := remedies(s.Remedies); err != nil {
		root.Complain("remedies", err.Error(), "correct the line, or leave the option out")
	}
	checkAccounts(root, s)
	if strings.HasPrefix(s.Store, "file:") {
		return
	}
	if _, err := redisurl.Parse(s.Store, nil); err != nil {
		root.Complain("store", err.Error(), "correct the address")
	}
	if root.Has("keyset") {
		if _, err := seal.Open(s.Keyset); err != nil {
			root.Complain("keyset", err.Error(), "make one with brokerctl keyset new, and give every broker a copy")
		}
	}
}
