package tcpconnect_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{
		"outcomes": outcomes,
		"stranger": stranger,
		"early":    early,
		"filtered": filtered,
	})
}

const user = 23456

// outcomes connects in every way there is, and says its thread ids, a port it
// did not choose, and how long one connect took.
func outcomes([]string) error {
	if err := recipetest.Isolate("fd00::1", "fd00::2"); err != nil {
		return err
	}
	for _, addr := range []string{"127.0.0.9:443", "[fd00::2]:443"} {
		if _, err := recipetest.Listen(addr, 16); err != nil {
			return err
		}
	}
	if _, err := recipetest.Listen("127.0.0.9:4430", 0); err != nil {
		return err
	}
	began := time.Now()
	if _, err := recipetest.Dial("127.0.0.2:40001", "127.0.0.9:443"); err != nil {
		return err
	}
	took := time.Since(began)
	if _, err := recipetest.Dial("[fd00::1]:40002", "[fd00::2]:443"); err != nil {
		return err
	}
	if _, err := recipetest.Dial("[::ffff:127.0.0.3]:40003", "[::ffff:127.0.0.9]:443"); err != nil {
		return err
	}
	if _, err := recipetest.Dial("127.0.0.2:40004", "127.0.0.9:444"); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("connecting to a closed port: %w, want ECONNREFUSED", err)
	}
	// This one fills the queue; nobody answers the next to the same port.
	if _, err := recipetest.Dial("127.0.0.2:40006", "127.0.0.9:4430"); err != nil {
		return err
	}
	var worker, waits int
	if err := recipetest.Thread("rt-worker", func(tid int) error {
		worker = tid
		if err := recipetest.SetUID(user); err != nil {
			return err
		}
		if _, err := recipetest.Dial("127.0.0.2:40005", "127.0.0.9:443"); err != nil {
			return err
		}
		var err error
		waits, err = unanswered("127.0.0.2:40007")
		return err
	}); err != nil {
		return err
	}
	gone, err := unanswered("127.0.0.2:40008")
	if err != nil {
		return err
	}
	if err := unix.Close(gone); err != nil {
		return err
	}
	for {
		info, err := unix.GetsockoptTCPInfo(waits, unix.SOL_TCP, unix.TCP_INFO)
		if err != nil {
			return err
		}
		if info.Total_retrans > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond) // between looks; the kernel tells nobody
	}

	// The kernel chooses both ends of the source after the connect began.
	free, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := recipetest.Connect(free, "127.0.0.9:443"); err != nil {
		return err
	}
	name, err := unix.Getsockname(free)
	if err != nil {
		return err
	}

	// No TCP connection.
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(udp, &unix.SockaddrInet4{Port: 40009, Addr: [4]byte{127, 0, 0, 2}}); err != nil {
		return err
	}
	if err := recipetest.Connect(udp, "127.0.0.9:443"); err != nil {
		return err
	}
	recipetest.Say(unix.Gettid(), worker, name.(*unix.SockaddrInet4).Port, took.Nanoseconds())
	return nil
}

// unanswered starts to connect to a listener whose queue is full.
func unanswered(local string) (int, error) {
	fd, err := recipetest.Socket(local)
	if err != nil {
		return -1, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return -1, err
	}
	if err := recipetest.Connect(fd, "127.0.0.9:4430"); err != unix.EINPROGRESS {
		return -1, fmt.Errorf("connecting to a full queue: %w, want EINPROGRESS", err)
	}
	return fd, nil
}

// stranger connects once under its own name, and once in a thread that has
// the name that is asked for.
func stranger([]string) error {
	if err := recipetest.Isolate(); err != nil {
		return err
	}
	if _, err := recipetest.Listen("127.0.0.9:443", 16); err != nil {
		return err
	}
	if _, err := recipetest.Dial("127.0.0.2:41001", "127.0.0.9:443"); err != nil {
		return err
	}
	return recipetest.Thread("rt-client", func(tid int) error {
		recipetest.Say(tid)
		_, err := recipetest.Dial("127.0.0.2:41002", "127.0.0.9:443")
		return err
	})
}

// early starts to connect before the trace and gives up during it.
func early([]string) error {
	if err := recipetest.Isolate(); err != nil {
		return err
	}
	if _, err := recipetest.Listen("127.0.0.9:4430", 0); err != nil {
		return err
	}
	if _, err := recipetest.Dial("127.0.0.2:42001", "127.0.0.9:4430"); err != nil {
		return err
	}
	fd, err := unanswered("127.0.0.2:42002")
	if err != nil {
		return err
	}
	recipetest.Say("connecting")
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	return unix.Close(fd)
}

func TestOutcomes(t *testing.T) {
	before := recipetest.Start(t, "rt-client", "early")
	before.Hear()
	var tid, worker, port, strange int
	var took int64
	var client, other *recipetest.Process
	run := recipetest.Run(t, "trace new TCP connections of rt-client", func(l *recipetest.Live) {
		before.Tell("go on")
		before.Wait()
		client = recipetest.Start(l.T, "rt-client", "outcomes")
		if _, err := fmt.Sscan(client.Hear(), &tid, &worker, &port, &took); err != nil {
			l.Error(err)
		}
		client.Wait()
		other = recipetest.Start(l.T, "rt-decoy", "stranger")
		if _, err := fmt.Sscan(other.Hear(), &strange); err != nil {
			l.Error(err)
		}
		other.Wait()
	})

	type want = recipetest.Want
	each := []want{
		{"saddr": "127.0.0.2", "sport": 40001, "daddr": "127.0.0.9", "dport": 443, "result": "OK"},
		{"saddr": "fd00::1", "sport": 40002, "daddr": "fd00::2", "dport": 443, "result": "OK"},
		{"saddr": "127.0.0.3", "sport": 40003, "daddr": "127.0.0.9", "dport": 443, "result": "OK"},
		{"saddr": "127.0.0.2", "sport": 40004, "daddr": "127.0.0.9", "dport": 444, "result": "ECONNREFUSED"},
		{"saddr": "127.0.0.2", "sport": 40005, "daddr": "127.0.0.9", "dport": 443, "result": "OK", "tid": worker, "comm": "rt-worker", "uid": user},
		{"saddr": "127.0.0.2", "sport": 40006, "daddr": "127.0.0.9", "dport": 4430, "result": "OK"},
		{"saddr": "127.0.0.2", "sport": 40007, "daddr": "127.0.0.9", "dport": 4430, "result": "EINPROGRESS", "tid": worker, "comm": "rt-worker", "uid": user},
		{"saddr": "127.0.0.2", "sport": 40008, "daddr": "127.0.0.9", "dport": 4430, "result": "ECONNABORTED"},
		{"saddr": "127.0.0.1", "sport": port, "daddr": "127.0.0.9", "dport": 443, "result": "OK"},
	}
	for _, w := range each {
		w["pid"] = client.Pid
		if w["tid"] == nil {
			w["tid"], w["comm"], w["uid"] = tid, "rt-client", 0
		}
		run.Event("connects", w)
	}
	if n := len(run.Events("connects", want{"pid": client.Pid})); n != len(each) {
		t.Errorf("the client made %d connections, %d are shown", len(each), n)
	}
	if worker == tid || worker == client.Pid {
		t.Errorf("thread %d is not one of its own", worker)
	}
	if ns := recipetest.Number(t, run.Event("connects", want{"pid": client.Pid, "sport": 40001}), "latency"); ns <= 0 || ns > took {
		t.Errorf("latency %d ns, the connect took %d", ns, took)
	}
	if ns := recipetest.Number(t, run.Event("connects", want{"pid": client.Pid, "sport": 40007}), "latency"); ns < 900*1e6 || ns > 30*1e9 {
		t.Errorf("the first retransmission was after %d ns, want about a second", ns)
	}

	run.Event("connects", want{"pid": other.Pid, "tid": strange, "comm": "rt-client", "sport": 41002})
	if n := len(run.Events("connects", want{"pid": other.Pid})); n != 1 {
		t.Errorf("%d connections of the stranger are shown, want that of one thread", n)
	}
	run.NoEvent("connects", want{"comm": "rt-decoy"})
	run.NoEvent("connects", want{"pid": before.Pid})
}

// filtered connects once as asked for and otherwise in ways that differ in one
// thing.
func filtered([]string) error {
	if err := recipetest.Isolate("fd00::1", "fd00::2", "fd00::3"); err != nil {
		return err
	}
	const swapped = "47873" // 443 with its bytes exchanged
	for _, port := range []string{"443", swapped} {
		for _, addr := range []string{"127.0.0.8:", "127.0.0.9:", "[fd00::2]:", "[fd00::3]:"} {
			if _, err := recipetest.Listen(addr+port, 16); err != nil {
				return err
			}
		}
	}
	recipetest.Say("ready")
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	dial := func(pairs ...string) error {
		for _, p := range pairs {
			local, remote, _ := strings.Cut(p, " ")
			if _, err := recipetest.Dial(local, remote); err != nil {
				return err
			}
		}
		return nil
	}
	if err := dial("127.0.0.2:40001 127.0.0.9:443", "[fd00::1]:40002 [fd00::2]:443"); err != nil {
		return err
	}
	return recipetest.Thread("rt-worker", func(int) error {
		if err := recipetest.SetUID(user); err != nil {
			return err
		}
		return dial(
			"127.0.0.2:40003 127.0.0.9:443", "[fd00::1]:40004 [fd00::2]:443",
			"127.0.0.2:40005 127.0.0.8:443", "[fd00::1]:40006 [fd00::3]:443",
			"127.0.0.2:40007 127.0.0.9:"+swapped, "[fd00::1]:40008 [fd00::2]:"+swapped,
			"127.0.0.9:40009 127.0.0.8:443", "[fd00::2]:40010 [fd00::3]:443",
		)
	})
}

func TestFilters(t *testing.T) {
	for _, c := range []struct {
		daddr string
		sport int
	}{{"127.0.0.9", 40003}, {"fd00::2", 40004}} {
		t.Run(c.daddr, func(t *testing.T) {
			asked, other := recipetest.Start(t, "rt-client", "filtered"), recipetest.Start(t, "rt-client", "filtered")
			asked.Hear()
			other.Hear()
			request := fmt.Sprintf("trace new TCP connections of user %d from rt-client with pid %d to %s port 443", user, asked.Pid, c.daddr)
			run := recipetest.Run(t, request, func(*recipetest.Live) {
				for _, p := range []*recipetest.Process{other, asked} {
					p.Tell("go on")
					p.Wait()
				}
			})
			run.Event("connects", recipetest.Want{"pid": asked.Pid, "uid": user, "sport": c.sport, "daddr": c.daddr, "dport": 443})
			if n := len(run.Events("connects", nil)); n != 1 {
				t.Errorf("%d connections are shown, want only the one asked for: %v", n, run.Events("connects", nil))
			}
		})
	}
}

// Of all ways in which connections end, one is asked for. A program that does
// not wait in connect(2) is told of no error there.
func TestResult(t *testing.T) {
	run := recipetest.Run(t, "which processes named rt-client get ECONNREFUSED, and from where?", func(l *recipetest.Live) {
		client := recipetest.Start(l.T, "rt-client", "outcomes")
		client.Hear()
		client.Wait()
	})
	run.Event("connects", recipetest.Want{"comm": "rt-client", "saddr": "127.0.0.2", "sport": 40004, "daddr": "127.0.0.9", "dport": 444, "result": "ECONNREFUSED"})
	if n := len(run.Events("connects", nil)); n != 1 {
		t.Errorf("%d connections are shown, want only the one that was refused: %v", n, run.Events("connects", nil))
	}
}

// Nobody sees a connection time out while they watch: what is not answered shows
// after a second.
func TestTimedOut(t *testing.T) {
	run := recipetest.Run(t, "which processes named rt-client get ETIMEDOUT", func(l *recipetest.Live) {
		client := recipetest.Start(l.T, "rt-client", "outcomes")
		client.Hear()
		client.Wait()
	})
	run.Event("connects", recipetest.Want{"sport": 40007, "dport": 4430, "result": "EINPROGRESS"})
	if n := len(run.Events("connects", nil)); n != 1 {
		t.Errorf("%d connections are shown, want only the one that nobody answered: %v", n, run.Events("connects", nil))
	}
}
