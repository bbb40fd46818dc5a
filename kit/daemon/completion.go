package daemon

import (
	"flag"
	"fmt"
	"strings"
)

// completion is the script that completes name's flags in a shell: bash, zsh or fish.
func completion(shell, name string, fs *flag.FlagSet) string {
	switch shell {
	case "zsh":
		return zsh(name, fs)
	case "fish":
		return fish(name, fs)
	}
	return bash(name, fs)
}

// choices are the values of flags that have a fixed set of them.
var choices = map[string]string{"log-level": "debug info warn error", "completion": strings.Join(shells, " ")}

func isBool(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

func bash(name string, fs *flag.FlagSet) string {
	var names, cases strings.Builder
	fs.VisitAll(func(f *flag.Flag) {
		fmt.Fprintf(&names, "-%s ", f.Name)
		if words, ok := choices[f.Name]; ok {
			fmt.Fprintf(&cases, "    -%s) COMPREPLY=($(compgen -W %q -- \"$cur\")); return ;;\n", f.Name, words)
		} else if !isBool(f) {
			fmt.Fprintf(&cases, "    -%s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", f.Name)
		}
	})
	fn := "_" + strings.ReplaceAll(name, "-", "_")
	return fmt.Sprintf(`# load with: source <(%[1]s -completion bash)
%[2]s() {
  local cur="${COMP_WORDS[COMP_CWORD]}"
  case "${COMP_WORDS[COMP_CWORD-1]}" in
%[3]s  esac
  COMPREPLY=($(compgen -W "%[4]s" -- "$cur"))
}
complete -o filenames -F %[2]s %[1]s
`, name, fn, cases.String(), strings.TrimSpace(names.String()))
}

// zsh wants brackets, colons and quotes escaped in a description.
var zshText = strings.NewReplacer("[", "\\[", "]", "\\]", ":", "\\:", "'", "'\\''")

func zsh(name string, fs *flag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %s\n# load with: source <(%s -completion zsh)\ncompdef _%s %s\n_%s() {\n  _arguments \\\n", name, name, name, name, name)
	fs.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		spec := fmt.Sprintf("-%s[%s]", f.Name, zshText.Replace(text))
		if words, ok := choices[f.Name]; ok {
			spec += fmt.Sprintf(":%s:(%s)", value, words)
		} else if !isBool(f) {
			spec += fmt.Sprintf(":%s:_files", value)
		}
		fmt.Fprintf(&b, "    '%s' \\\n", spec)
	})
	b.WriteString("    && return\n}\n")
	return b.String()
}

func fish(name string, fs *flag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# load with: %s -completion fish | source\ncomplete -c %s -f\n", name, name)
	fs.VisitAll(func(f *flag.Flag) {
		_, text := flag.UnquoteUsage(f)
		rest := ""
		if words, ok := choices[f.Name]; ok {
			rest = fmt.Sprintf(" -x -a '%s'", words)
		} else if !isBool(f) {
			rest = " -r -F"
		}
		fmt.Fprintf(&b, "complete -c %s -o %s -d '%s'%s\n", name, f.Name, strings.ReplaceAll(text, "'", "\\'"), rest)
	})
	return b.String()
}
