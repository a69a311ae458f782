// Convert makes kgent's file of weights out of the unpacked package of the embedding
// model: convert DIRECTORY FILE. deploy/embeddings runs it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"kgent/retrieval/embed"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "convert:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want a directory and a file, got %d arguments", len(args))
	}
	m, err := embed.Convert(args[0])
	if err != nil {
		return err
	}
	// Whole or not at all: a build that is interrupted leaves no half of a model.
	f, err := os.CreateTemp(filepath.Dir(args[1]), ".embeddings-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := m.Write(f); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), args[1])
}
