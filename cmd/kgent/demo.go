package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// demoName is what the demonstration's workload is called in the output.
const demoName = "kgent-demo"

// demoCommand is `kgent ask` with a workload beside it, so that there is
// something to see on an idle machine.
func demoCommand(sys system) *cobra.Command {
	var o askOptions
	cmd := &cobra.Command{
		Use:   "demo [flags] \"request\"",
		Short: "kgent ask, with a small workload that gives the kernel something to say",
		Args:  oneRequest,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			var work sync.WaitGroup
			o.attached = func() {
				work.Go(func() {
					// It ends with the thread that has started it, and threads that have given up
					// capabilities end before this process does.
					runtime.LockOSThread()
					defer runtime.UnlockOSThread()
					w, err := startWorkload(ctx)
					if err != nil {
						fmt.Fprintf(sys.err, "kgent: the demonstration's workload does not run: %v\n", err)
						return
					}
					w.Wait() // killed by cancel: its status says nothing
				})
			}
			err := ask(cmd.Context(), sys, o, args[0])
			cancel()
			work.Wait()
			return err
		},
	}
	o.flags(cmd)
	return cmd
}

// startWorkload runs this program again as kgent-demo.
func startWorkload(ctx context.Context) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kgent-demo-")
	if err != nil {
		return nil, err
	}
	link := filepath.Join(dir, demoName)
	if err := os.Symlink(self, link); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	cmd := exec.CommandContext(ctx, link, "workload", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return cmd, nil
}

// workloadCommand does, twice a second, a little of what people trace. It
// touches only loopback and the directory it is given, which it removes at
// the end.
func workloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "workload DIR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			defer os.RemoveAll(args[0])
			tick := time.NewTicker(500 * time.Millisecond)
			defer tick.Stop()
			for {
				if err := workOnce(cmd.Context(), args[0]); err != nil {
					return err
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-tick.C:
				}
			}
		},
	}
}

// workOnce connects over IPv4 and IPv6, writes, syncs, renames and removes a
// file, misses one, and starts a process that it then ends by a signal.
func workOnce(ctx context.Context, dir string) error {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		if err := connect(address); err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return err // EADDRNOTAVAIL: a host without IPv6
		}
	}
	name := filepath.Join(dir, "file")
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(name, name+".old"); err != nil {
		return err
	}
	if err := os.Remove(name + ".old"); err != nil {
		return err
	}
	if _, err := os.Open(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("opening a missing file: %v", err)
	}
	child := exec.CommandContext(ctx, "/bin/sleep", "60")
	if err := child.Start(); err != nil {
		return err
	}
	if err := child.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	child.Wait() // ended by the signal
	return nil
}

// connect makes one connection to itself and sends a little through it.
func connect(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = c.Read(make([]byte, 64))
			c.Close()
		}
		served <- err
	}()
	c, err := net.DialTimeout("tcp", l.Addr().String(), time.Second)
	if err != nil {
		return err
	}
	_, err = c.Write([]byte("hello"))
	return errors.Join(err, <-served, c.Close()) // the accepting side ends first
}
