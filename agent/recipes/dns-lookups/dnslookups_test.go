package dnslookups_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"resolver": resolver})
}

const (
	user  = 23456
	delay = 150 * time.Millisecond
)

// serve answers questions about host names, in a world without any: at once,
// for names that begin with slow after a while, and for those that begin with
// early when goOn is closed.
func serve(conn net.PacketConn, heard chan<- bool, goOn <-chan bool) {
	for b := make([]byte, 1500); ; {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		// A header of 12 bytes; the question ends with a zero byte, a type and a class.
		end := 12
		for end < n && b[end] != 0 {
			end += int(b[end]) + 1
		}
		if end+5 > n {
			continue
		}
		reply := append([]byte(nil), b[:end+5]...)
		reply[2], reply[3] = 0x81, 0x83 // a response: no such name
		reply[10], reply[11] = 0, 0     // without additional records
		go func() {
			switch name := string(reply[13:end]); {
			case strings.HasPrefix(name, "slow"):
				time.Sleep(delay)
			case strings.HasPrefix(name, "early"):
				heard <- true
				<-goOn
			}
			conn.WriteTo(reply, from)
		}()
	}
}

// isolate gives the thread a network and a resolver of its own.
func isolate(heard chan<- bool, goOn <-chan bool) error {
	if err := recipetest.Isolate(); err != nil {
		return err
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.53:53")
	if err != nil {
		return err
	}
	go serve(conn, heard, goOn)
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	dir, err := os.MkdirTemp("", "rt-dns")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{
		"resolv.conf": "nameserver 127.0.0.53\noptions single-request timeout:5 attempts:1\n", "nsswitch.conf": "hosts: files dns\n",
		"hosts": "127.0.0.1 known.example\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(path, "/etc/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting over /etc/%s: %w", name, err)
		}
	}
	return nil
}

// lookup calls getaddrinfo on this thread and returns how long that took.
func lookup(name string, found bool) (time.Duration, error) {
	began := time.Now()
	_, err := net.DefaultResolver.LookupHost(context.Background(), name)
	took := time.Since(began)
	if (err == nil) != found {
		return took, fmt.Errorf("looking up %s: %v", name, err)
	}
	return took, nil
}

// resolver looks host names up: one from before the trace on, some in a thread
// of a user's, and a very long one in a program of its own.
func resolver(args []string) error {
	heard, goOn := make(chan bool, 8), make(chan bool)
	if err := isolate(heard, goOn); err != nil {
		return err
	}
	mounts, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	network, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	thread := func(comm string, f func(tid int) error) error {
		return recipetest.Thread(comm, func(tid int) error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Setns(mounts, unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Setns(network, unix.CLONE_NEWNET); err != nil {
				return err
			}
			return f(tid)
		})
	}
	early := make(chan error, 1)
	go func() {
		early <- thread("rt-early", func(int) error {
			_, err := lookup("early.example", false)
			return err
		})
	}()
	select {
	case <-heard:
	case err := <-early:
		return fmt.Errorf("the early lookup ended: %w", err)
	}
	recipetest.Say("looking up")
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	close(goOn)
	if err := <-early; err != nil {
		return err
	}

	if _, err := lookup("known.example", true); err != nil {
		return err
	}
	if _, err := lookup("slow-root.example", false); err != nil {
		return err
	}
	var worker int
	var quick, took time.Duration
	if err := thread("rt-worker", func(tid int) error {
		worker = tid
		if err := recipetest.SetUID(user); err != nil {
			return err
		}
		var err error
		if quick, err = lookup("quick-user.example", false); err != nil {
			return err
		}
		took, err = lookup("slow-user.example", false)
		return err
	}); err != nil {
		return err
	}

	// A name too long for any host; Go would not ask.
	cmd := exec.Command(args[0], "ahosts", long)
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 2 {
		return fmt.Errorf("looking up a long name: %w", err)
	}
	recipetest.Say(unix.Gettid(), worker, took.Nanoseconds(), cmd.ProcessState.Pid(), quick.Nanoseconds())
	return nil
}

var long = strings.Repeat("longer.", 43) + "example"

// start starts a resolver in C: Go's own does not pass through the C library.
func start(t *testing.T, comm string) *recipetest.Process {
	t.Helper()
	getent, err := exec.LookPath("getent")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), comm)
	if err := os.Symlink(getent, path); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GODEBUG", "netdns=cgo")
	return recipetest.Start(t, comm, "resolver", path)
}

func TestLookups(t *testing.T) {
	asked, other := start(t, "rt-dns"), start(t, "rt-decoy")
	asked.Hear()
	other.Hear()
	var tid, worker, program int
	var took int64
	run := recipetest.Run(t, "dns lookups of rt-dns", func(l *recipetest.Live) {
		for _, p := range []*recipetest.Process{other, asked} {
			p.Tell("go on")
			if _, err := fmt.Sscan(p.Hear(), &tid, &worker, &took, &program); err != nil {
				l.Error(err)
			}
			p.Wait()
		}
	})
	type want = recipetest.Want
	run.Event("lookups", want{"pid": asked.Pid, "tid": tid, "uid": 0, "comm": "rt-dns", "host": "known.example", "result": "FOUND"})
	run.Event("lookups", want{"pid": asked.Pid, "tid": tid, "uid": 0, "comm": "rt-dns", "host": "slow-root.example", "result": "NONAME"})
	run.Event("lookups", want{"pid": asked.Pid, "tid": worker, "uid": user, "comm": "rt-worker", "host": "quick-user.example", "result": "NONAME"})
	f := run.Event("lookups", want{"pid": asked.Pid, "tid": worker, "uid": user, "comm": "rt-worker", "host": "slow-user.example", "result": "NONAME"})
	if ns := recipetest.Number(t, f, "latency"); ns < delay.Nanoseconds() || ns > took {
		t.Errorf("the slow lookup took %d ns, want between %d and %d", ns, delay.Nanoseconds(), took)
	}
	if n := len(run.Events("lookups", want{"pid": asked.Pid})); n != 4 {
		t.Errorf("%d lookups are shown, want 4: the one from before the trace is not among them", n)
	}
	run.Event("lookups", want{"pid": program, "uid": 0, "comm": "rt-dns", "host": long[:255]})
	run.NoEvent("lookups", want{"pid": other.Pid})
	run.NoEvent("lookups", want{"comm": "rt-decoy"})
}

func TestFilters(t *testing.T) {
	asked, other := start(t, "rt-dns"), start(t, "rt-dns")
	asked.Hear()
	other.Hear()
	request := fmt.Sprintf("dns lookups of rt-dns with pid %d of user %d that take longer than 100 ms", asked.Pid, user)
	var quick time.Duration
	run := recipetest.Run(t, request, func(l *recipetest.Live) {
		for _, p := range []*recipetest.Process{other, asked} {
			p.Tell("go on")
			var tid, worker, took, program int64
			if _, err := fmt.Sscan(p.Hear(), &tid, &worker, &took, &program, (*int64)(&quick)); err != nil {
				l.Error(err)
			}
			p.Wait()
		}
	})
	run.Event("lookups", recipetest.Want{"pid": asked.Pid, "uid": user, "host": "slow-user.example"})
	most := 1
	if quick > 100*time.Millisecond { // the quick one too, when the machine is busy
		most += len(run.Events("lookups", recipetest.Want{"pid": asked.Pid, "uid": user, "host": "quick-user.example"}))
	}
	if all := run.Events("lookups", nil); len(all) != most {
		t.Errorf("%d lookups are shown, want only the one asked for: %v", len(all), all)
	}
}
