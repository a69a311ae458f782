package recipes

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// read returns what is found in a text: every value with its readings, and what is
// wrong with it.
func read(lex *lexicon, text string) []string {
	words := split(text, lex.inHyphens)
	var out []string
	for _, a := range readArgs(lex, words, testUser) {
		var s []string
		for _, rd := range a.readings {
			s = append(s, fmt.Sprintf("%s=%s", rd.role, rd.value))
		}
		line := strings.Join(s, "|")
		if a.problem != "" {
			line += "!"
		}
		out = append(out, line)
	}
	return out
}

func TestReadArgs(t *testing.T) {
	lex := library(t).lexicon
	for text, want := range map[string]string{
		// processes
		"of nginx":                         "process=nginx",
		"NGINX":                            "process=nginx",
		"opened by java":                   "sender=java|process=java",
		"process postgres":                 "process=postgres",
		"nginx's files":                    "process=nginx",
		"the nginx worker processes":       "process=nginx",
		`by "Web Content"`:                 "sender=Web Content|process=Web Content",
		"process named my-service":         "process=my-service",
		"a process called find":            "process=find",
		"comm=foo":                         "process=foo",
		"of qemu-system-x86_64":            "process=qemu-system-x86",
		"by backup.sh":                     "sender=backup.sh|process=backup.sh",
		"opened by myapp":                  "sender=myapp|process=myapp",
		"which files does foobar open":     "process=foobar",
		"files that docker removes":        "process=docker",
		"made by make":                     "sender=make|process=make",
		"make it so":                       "",
		"on this node":                     "",
		"by process":                       "",
		"by tenant":                        "",
		"of requests":                      "",
		"lookups of example.com":           "",
		"by systemd service":               "",
		"off-cpu time of short-lived":      "",
		"run \"run queue latency\" please": "",
		// process ids
		"pid 1234":                   "pid=1234",
		"pid=1234":                   "pid=1234",
		"pid:1234":                   "pid=1234",
		"PID1234":                    "pid=1234",
		"process 1234":               "pid=1234",
		"process id 1234":            "pid=1234",
		"signals to pid 7":           "target_pid=7",
		"signals from pid 7":         "sender_pid=7|pid=7",
		"does pid 7 receive signals": "target_pid=7|pid=7",
		"kills process 7":            "target_pid=7",
		"pids 1 and 2":               "pid=1;pid=2",
		"pid 0":                      "pid=!",
		"pid 99999999":               "pid=!",
		"thread 12":                  "thread=12",
		"parent pid 1":               "parent=1",
		"child of nginx":             "parent=nginx",
		"processes 30 seconds":       "duration=30s",
		// users
		"user www-data":      "user=33",
		"uid 1000":           "user=1000",
		"uid=0":              "user=0",
		"run by root":        "sender_user=0|user=0",
		"as root":            "user=0",
		"root cause":         "",
		"user stacks":        "",
		"user nosuchuser":    "user=!",
		"uid 4294967295":     "user=!",
		"signals to user 12": "target_user=12",
		// ports
		"port 443":                          "port=443",
		":443":                              "port=443",
		"tcp/443":                           "port=443",
		"443/tcp":                           "port=443",
		"to port 443":                       "dport=443",
		"to the remote port 443":            "rport=443",
		"destination port 443":              "dport=443",
		"from port 443":                     "sport=443",
		"source port 443":                   "sport=443",
		"local port 443":                    "lport=443",
		"listening on port 443":             "lport=443",
		"port https":                        "port=443",
		"https connections":                 "port=443",
		"to the ssh port":                   "dport=22",
		"to postgres":                       "target_process=postgres|dport=5432",
		"ports 80 and 443":                  "port=80;port=443",
		"port 0":                            "port=!",
		"port 65536":                        "port=!",
		"port above 1024":                   "port=!",
		"port 23 (telnet)":                  "port=23;port=23",
		"on port 80 and 5 seconds interval": "port=80;interval=5s",
		// addresses
		"10.0.0.1":                  "address=10.0.0.1",
		"to 10.0.0.1":               "daddr=10.0.0.1",
		"from host 10.0.0.1":        "saddr=10.0.0.1",
		"to 10.0.0.1:443":           "daddr=10.0.0.1;dport=443",
		"2001:DB8::1":               "address=2001:db8::1",
		"to [2001:db8::1]":          "daddr=2001:db8::1",
		"to [2001:db8::1]:443.":     "daddr=2001:db8::1;dport=443",
		"::ffff:10.0.0.1":           "address=10.0.0.1",
		"to 10.0.0.0/8":             "subnet=10.0.0.0/8",
		"10.0.0.1/32":               "address=10.0.0.1",
		"0.0.0.0":                   "address=!",
		"fe80::1%eth0":              "address=!",
		"between 10.0.0.1 and ::1.": "address=10.0.0.1;address=::1",
		"version 1.2.3":             "",
		// paths
		"under /var/log":               "path=/var/log/",
		"files in /tmp":                "path=/tmp/",
		"opens /etc/passwd":            "path=/etc/passwd",
		"/etc/passwd.":                 "path=/etc/passwd",
		"below /srv/*":                 "path=/srv/",
		"/var/*.log":                   "path=!",
		"~/.ssh":                       "path=!",
		"./x":                          "path=!",
		"/" + strings.Repeat("x", 300): "path=!",
		"read/write":                   "",
		// errors
		"ECONNREFUSED":              "errno=ECONNREFUSED",
		"enoents":                   "errno=ENOENT",
		"EWOULDBLOCK":               "errno=EAGAIN",
		"error 13":                  "errno=EACCES",
		"errno -2":                  "errno=ENOENT",
		"error code 5":              "errno=EIO",
		"error 4000":                "errno=!",
		"permission denied":         "errno=EACCES",
		"Permission denied.":        "errno=EACCES",
		`gets "connection refused"`: "errno=ECONNREFUSED",
		"no such file or directory": "errno=ENOENT",
		"too many open files":       "errno=EMFILE",
		"files that don’t exist":    "errno=ENOENT",
		"no space left on device":   "errno=ENOSPC",
		"everything else":           "",
		"errors for 30 seconds":     "duration=30s",
		// signals
		"SIGTERM":             "signal=SIGTERM",
		"sigkills":            "signal=SIGKILL",
		"signal 9":            "signal=SIGKILL",
		"signal number 15":    "signal=SIGTERM",
		"kill -9":             "signal=SIGKILL",
		"kill -HUP":           "signal=SIGHUP",
		"TERM signals":        "signal=SIGTERM",
		"signal 99":           "signal=!",
		"segfaults":           "signal=SIGSEGV",
		"signals 10 seconds":  "duration=10s",
		"who SIGTERMs pid 12": "signal=SIGTERM;target_pid=12",
		// capabilities, system calls
		"CAP_NET_ADMIN":          "capability=CAP_NET_ADMIN",
		"the NET_RAW capability": "capability=CAP_NET_RAW",
		"sys_admin":              "capability=CAP_SYS_ADMIN",
		"openat":                 "syscall=openat",
		"futexes":                "",
		"read() calls":           "syscall=read",
		"mount(2)":               "syscall=mount",
		"calls to write":         "syscall=write",
		"fail to connect":        "syscall=connect",
		"read and write sizes":   "",
		"time spent":             "",
		// thresholds
		"slower than 10 ms":         "threshold=10ms",
		"slower than 10ms":          "threshold=10ms",
		"> 250us":                   "threshold=250us",
		">250µs":                    "threshold=250us",
		">= 250 μs":                 "threshold=250us",
		"latency>10ms":              "threshold=10ms",
		"over 5 milliseconds":       "threshold=5ms",
		"longer than half a second": "threshold=500ms",
		"taking a second or more":   "threshold=1s",
		"at least 1.5 seconds":      "threshold=1500ms",
		"10ms or longer":            "threshold=10ms",
		"faster than 10ms":          "at most=10ms",
		"< 10ms":                    "at most=10ms",
		"over 30 seconds":           "threshold=30s|duration=30s",
		"0.0000001ns or more":       "",
		// durations
		"for 30 seconds":           "duration=30s",
		"for a minute":             "duration=1m",
		", 60s":                    "duration=1m",
		"for the next 5 minutes":   "duration=5m",
		"over the next minute":     "duration=1m",
		"for 1m30s":                "duration=90s",
		"for 1 minute 30 seconds":  "duration=90s",
		"for half an hour":         "duration=30m",
		"for a quarter of an hour": "duration=15m",
		"a 30-second trace":        "duration=30s",
		"for up to 20 s":           "duration=20s",
		"for at least ten seconds": "duration=10s",
		"in the last 5 minutes":    "past=!",
		"past 2 hours":             "past=!",
		"past 10 ms":               "threshold=10ms",
		"10ms":                     "unclear=!",
		// intervals, rates, rows
		"every second":           "interval=1s",
		"each 5s":                "interval=5s",
		"every 2 minutes":        "interval=2m",
		"at 10 second intervals": "interval=10s",
		"per second":             "rate=1s",
		"syscalls/s":             "rate=1s",
		"syscalls a second":      "rate=1s",
		"per process and second": "rate=1s",
		"every 10ms":             "interval=!",
		"at 99 Hz":               "hz=99",
		"99hz":                   "hz=99",
		"1 kHz":                  "hz=1000",
		"49 times a second":      "hz=49",
		"199 samples per second": "hz=199",
		"20 kHz":                 "hz=!",
		"top 10":                 "top=10",
		"top-10":                 "top=10",
		"top10":                  "top=10",
		"top ten":                "top=10",
		"the five busiest":       "top=5",
		"3 most active":          "top=3",
		"limit to 20 rows":       "top=20",
		"top 0":                  "top=!",
		"top 5000":               "top=!",
		// interfaces, cgroups, sizes
		"on eth0":                "interface=eth0",
		"interface lo":           "interface=lo",
		"the loopback interface": "interface=lo",
		"on lo":                  "interface=lo",
		"enp0s31f6":              "interface=enp0s31f6",
		"on eth0.100":            "interface=eth0.100",
		"usb devices":            "",
		"cgroup system.slice":    "cgroup=system.slice",
		"cgroup /user.slice/x":   "cgroup=user.slice/x",
		"of nginx.service":       "cgroup=nginx.service",
		"in container:web.":      "cgroup=container:web",
		"of pod:shop/web-1":      "cgroup=pod:shop/web-1",
		"with label:app=shop":    "cgroup=label:app=shop",
		"cgroup ../x":            "cgroup=!",
		"larger than 1 MB":       "size=1MB",
		"over 64k":               "size=64k",
		"":                       "",
	} {
		if got := strings.Join(read(lex, text), ";"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// FuzzReadArgs holds that values are read from words of the request, each from its
// own, and that none is empty.
func FuzzReadArgs(f *testing.F) {
	for _, s := range []string{
		"of nginx's pid 12 to [::1]:443", "slower than 1.5 ms or more", "for 1 minute 30 seconds every 5s", "top 10 of user www-data", "kill -9", "/etc/passwd ~/x",
		"signal 9 errno -2 CAP_SYS_ADMIN read() mount(2)", "10.0.0.0/8 port 80 and 443", "\"quoted name\" `x` 'y'", "a half of a quarter of an hour", "=:/-_<>≥", "port port port", "pid and or pid",
	} {
		f.Add(s)
	}
	lex := library(f).lexicon
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > MaxRequest {
			return
		}
		words := split(text, lex.inHyphens)
		taken := make([]int, len(words))
		for _, a := range readArgs(lex, words, testUser) {
			if a.first < 0 || a.last > len(words) || a.first >= a.last && a.first != a.last {
				t.Fatalf("%q: value of words %d to %d of %d", text, a.first, a.last, len(words))
			}
			if len(a.readings) == 0 {
				t.Fatalf("%q: a value without a reading", text)
			}
			for _, rd := range a.readings {
				if !isRole(rd.role) || rd.value == "" && a.problem == "" {
					t.Errorf("%q: %s is %q", text, rd.role, rd.value)
				}
			}
			for i := a.first; i < a.last; i++ {
				taken[i]++
			}
		}
		if i := slices.IndexFunc(taken, func(n int) bool { return n > 2 }); i >= 0 { // address:port are two
			t.Errorf("%q: word %q is %d values", text, words[i].text, taken[i])
		}
	})
}
