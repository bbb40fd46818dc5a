package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"

	"mailporter/sandbox"
)

// load reads a configuration file. Relative folders in it are relative to the file. Each complaint is one line, with file,
// line and column where they are known.
func load(path string) (sandbox.Config, []string) {
	b, err := os.ReadFile(path)
	if err != nil {
		var where *os.PathError
		if errors.As(err, &where) {
			err = where.Err
		}
		return sandbox.Config{}, []string{path + ": " + err.Error()}
	}
	config, complaints := decode(path, b)
	for _, dir := range []*string{&config.Data, &config.CADir} {
		if *dir != "" && !filepath.IsAbs(*dir) {
			*dir = filepath.Join(filepath.Dir(path), *dir)
		}
	}
	if len(complaints) > 0 {
		return config, complaints
	}
	if err := config.Validate(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			complaints = append(complaints, path+": "+line)
		}
	}
	return config, complaints
}

// decode is strict: unknown and repeated options and further documents are complaints.
func decode(path string, b []byte) (sandbox.Config, []string) {
	var config sandbox.Config
	loader, err := yaml.NewLoader(bytes.NewReader(b), yaml.WithKnownFields(), yaml.WithUniqueKeys())
	if err != nil {
		return config, []string{err.Error()}
	}
	if err := loader.Load(&config); err != nil && !errors.Is(err, io.EOF) {
		return config, positions(path, err)
	}
	var more any
	if err := loader.Load(&more); err == nil {
		return config, []string{path + ": more than one YAML document; keep one"}
	}
	return config, nil
}

func positions(path string, err error) []string {
	var all *yaml.LoadErrors
	var one *yaml.LoadError
	switch {
	case errors.As(err, &all):
		out := make([]string, len(all.Errors))
		for i, e := range all.Errors {
			out[i] = position(path, e)
		}
		return out
	case errors.As(err, &one):
		return []string{position(path, one)}
	}
	return []string{path + ": " + err.Error()}
}

func position(path string, e *yaml.LoadError) string {
	return fmt.Sprintf("%s:%d:%d: %s", path, e.Mark.Line, e.Mark.Column, e.Message)
}
