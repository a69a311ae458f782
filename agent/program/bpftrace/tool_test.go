package bpftrace_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kgent/agent/program/bpftrace"
)

// toolOf is a bpftrace of some release, as far as being asked for it goes.
func toolOf(release string) []byte { return []byte("#!/bin/sh\necho bpftrace v" + release + "\n") }

// What was found is what runs, whatever is put in its place.
func TestToolIsOpenedOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "bpftrace")
	if err := os.WriteFile(name, toolOf("0.20.1"), 0o755); err != nil {
		t.Fatal(err)
	}
	getenv := func(string) string { return name }
	tool, err := bpftrace.Locate(getenv, "self")
	if err != nil {
		t.Fatal(err)
	}
	other := name + ".new"
	if err := os.WriteFile(other, toolOf("0.23.0"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, name); err != nil {
		t.Fatal(err)
	}
	if v, err := tool.Release(t.Context()); err != nil || v.String() != "0.20.1" {
		t.Errorf("release %v, %v", v, err)
	}
	tool, err = bpftrace.Find(t.Context(), getenv, "self")
	if err != nil {
		t.Fatal(err)
	}
	if v, err := tool.Release(t.Context()); err != nil || v.String() != "0.23.0" {
		t.Errorf("found again it is %v, %v", v, err)
	}
}

func TestToolOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: others run what they like")
	}
	for what, spoil := range map[string]func(name string) error{
		"writable by all": func(name string) error { return os.Chmod(name, 0o757) },
		"of a group":      func(name string) error { return os.Chmod(name, 0o775) },
		"of somebody":     func(name string) error { return os.Chown(name, 65534, 0) },
	} {
		name := filepath.Join(t.TempDir(), "bpftrace")
		if err := os.WriteFile(name, toolOf("0.20.1"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := spoil(name); err != nil {
			t.Fatal(err)
		}
		if _, err := bpftrace.Locate(func(string) string { return name }, "self"); !errors.Is(err, bpftrace.ErrNone) || !strings.Contains(err.Error(), "others than root can change") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := bpftrace.Locate(func(string) string { return t.TempDir() }, "self"); !errors.Is(err, bpftrace.ErrNone) {
		t.Errorf("a directory: %v", err)
	}
}
