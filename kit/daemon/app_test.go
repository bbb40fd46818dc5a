package daemon

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	good := write(t, filepath.Join(dir, "good.yaml"), "admin: 127.0.0.1:0\n")
	warn := write(t, filepath.Join(dir, "warn.yaml"), "secret: hunter2\n")
	bad := write(t, filepath.Join(dir, "bad.yaml"), "admin: x\nmoode: fails\n")
	for name, tc := range map[string]struct {
		args   []string
		code   int
		stdout []string
		stderr []string
	}{
		"help":             {[]string{"-help"}, 0, []string{"porter carries bags.", "-config FILE", "-log-level LEVEL", "-heavy", "SIGHUP", "within 25s", "Manual:"}, nil},
		"version":          {[]string{"-version"}, 0, []string{"porter devel", "go1."}, nil},
		"check good":       {[]string{"-config", good, "-check"}, 0, []string{good + ": ok"}, nil},
		"check warns":      {[]string{"-config", warn, "-check"}, 0, []string{":1:9: warning: secret: ", warn + ": ok"}, nil},
		"check bad":        {[]string{"-config", bad, "-check"}, 1, []string{bad + ":1:8: admin: ", bad + ":2:1: moode: ", `did you mean "mode"?`}, nil},
		"check no file":    {[]string{"-config", dir + "/none", "-check"}, 1, []string{"cannot be read: no such file"}, nil},
		"start bad":        {[]string{"-config", bad}, 1, nil, []string{bad + ":1:8: admin: "}},
		"no config":        {nil, 2, nil, []string{"-config FILE is missing", "example: porter -config porter.yaml", "porter -help"}},
		"unknown flag":     {[]string{"-konfig", good}, 2, nil, []string{"flag provided but not defined: -konfig", "example:"}},
		"stray argument":   {[]string{"-config", good, "now"}, 2, nil, []string{`"now" is no flag`}},
		"bad level":        {[]string{"-config", good, "-log-level", "loud"}, 2, nil, []string{`"loud"`}},
		"completion":       {[]string{"-completion", "bash"}, 0, []string{"complete -o filenames -F _porter porter", "-heavy"}, nil},
		"completion, zsh":  {[]string{"-completion", "zsh"}, 0, []string{"#compdef porter", "-log-level["}, nil},
		"completion, fish": {[]string{"-completion", "fish"}, 0, []string{"complete -c porter -o log-level"}, nil},
		"completion, tcsh": {[]string{"-completion", "tcsh"}, 2, nil, []string{"use one of: bash, zsh, fish"}},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := program().Execute(t.Context(), tc.args, &stdout, &stderr); code != tc.code {
				t.Errorf("exit %d, want %d", code, tc.code)
			}
			contains(t, "stdout", stdout.String(), tc.stdout)
			contains(t, "stderr", stderr.String(), tc.stderr)
			if strings.Contains(stdout.String()+stderr.String(), "hunter2") {
				t.Error("a secret was printed")
			}
		})
	}
}

// contains wants every part in text, and nothing at all if there are no parts.
func contains(t *testing.T, what, text string, parts []string) {
	t.Helper()
	if len(parts) == 0 && text != "" {
		t.Errorf("%s is not empty:\n%s", what, text)
	}
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s has no %q:\n%s", what, p, text)
		}
	}
}

// The scripts must be such that their shells can read them; a shell that is not installed is not asked.
func TestCompletionParses(t *testing.T) {
	checked := 0
	for _, shell := range shells {
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		var script bytes.Buffer
		program().Execute(t.Context(), []string{"-completion", shell}, &script, &script)
		cmd := exec.Command(path, "-n", write(t, filepath.Join(t.TempDir(), "script"), script.String()))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
		checked++
	}
	if checked == 0 {
		t.Error("no shell at all")
	}
}

func TestRunEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		config string
		code   int
		log    []string
	}{
		"drains when told to": {"mode: drains", 0, []string{`"carrying"`, `"draining"`, `"put down"`, `"ended"`}},
		"fails":               {"mode: fails", 1, []string{`"ended with an error"`, "open the door: permission denied"}},
		"bad admin address":   {"admin: 127.0.0.1:99999", 1, nil},
		"warns":               {"secret: hunter2", 0, []string{`"level":"WARN"`, "a secret stands in the file itself"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, filepath.Join(t.TempDir(), "c.yaml"), tc.config)
			ctx, cancel := context.WithCancel(t.Context())
			var out bytes.Buffer
			a := program()
			run := a.Run
			a.Run = func(ctx context.Context, f *Frame, s settings) error {
				cancel()
				return run(ctx, f, s)
			}
			defer cancel()
			if code := a.Execute(ctx, []string{"-config", path}, &out, &out); code != tc.code {
				t.Errorf("exit %d, want %d:\n%s", code, tc.code, out.String())
			}
			for _, p := range tc.log {
				if !strings.Contains(out.String(), p) {
					t.Errorf("no %s in:\n%s", p, out.String())
				}
			}
		})
	}
}

// A program without a configuration has no flags about one and starts with none.
func TestRunWithoutConfiguration(t *testing.T) {
	ran := false
	a := App[struct{}]{Name: "bare", About: "does little", Run: func(context.Context, *Frame, struct{}) error {
		ran = true
		return nil
	}}
	var out bytes.Buffer
	if code := a.Execute(t.Context(), nil, &out, &out); code != 0 || !ran {
		t.Errorf("exit %d, ran %v:\n%s", code, ran, out.String())
	}
	var help bytes.Buffer
	if a.Execute(t.Context(), []string{"-help"}, &help, &help); strings.Contains(help.String(), "-config") {
		t.Errorf("offers -config:\n%s", help.String())
	}
	if code := a.Execute(t.Context(), []string{"-check"}, &out, &out); code != ExitUsage {
		t.Errorf("-check: exit %d", code)
	}
}
