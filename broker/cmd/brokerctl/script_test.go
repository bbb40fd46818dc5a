package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"brokerctl": main})
}

// TestScripts runs the tool as people do, against a broker of its own for each script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			_, flags, stop := open(e.WorkDir, func(why ...any) { panic(fmt.Sprint(why...)) })
			e.Defer(stop)
			for name, value := range flags {
				e.Setenv("MAILPORTER_"+strings.ToUpper(name), value)
			}
			return nil
		},
	})
}
