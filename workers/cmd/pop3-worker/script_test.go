package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"mailporter/workers/internal/program/programtest"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"pop3-worker": main}) }

func TestScripts(t *testing.T) { programtest.Scripts(t, "pop3-worker") }
