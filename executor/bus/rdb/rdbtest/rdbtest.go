// Package rdbtest starts real Redis servers for tests, to connect to, to take
// away and to bring back.
//
//	s := rdbtest.Start(t)
//	client := s.Client()
//	s.Kill()
//	s.Restart()
package rdbtest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/executor/bus/rdb"
)

// patience bounds every wait for the server, on a machine that may have other things
// to do.
const patience = time.Minute

// Server is a Redis server of this machine. Its methods fail the test when
// they cannot do what they say.
type Server struct {
	t       testing.TB
	dir     string
	network string // tcp or unix
	addr    string
	base    string   // file that the configuration begins with
	conf    []string // lines that it ends with
	users   []string // lines of its ACL file
	persist bool
	pki     *pki // nil without TLS
	cluster bool
	bus     string // port on which servers of a cluster speak to each other
	admin   string

	mu      sync.Mutex
	process *process // nil while there is none
	client  *redis.Client
}

// process is one server process.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended
}

// Option changes how a server is started.
type Option func(*Server)

// Unix makes the server listen on a socket instead of a port.
func Unix() Option { return func(s *Server) { s.network = "unix" } }

// AppendOnly makes the server keep its data over a restart, a killed one
// included.
func AppendOnly() Option { return func(s *Server) { s.persist = true } }

// Base begins with an operator's configuration file. What the test needs comes
// after it.
func Base(path string) Option { return func(s *Server) { s.base = path } }

// Config adds a line to the server's configuration.
func Config(line string) Option { return func(s *Server) { s.conf = append(s.conf, line) } }

// ACL adds users, each a line as in an ACL file: "user NAME on >password …".
// The default user is then off, and the tests' own, which may do everything,
// is called [Admin].
func ACL(users ...string) Option {
	return func(s *Server) {
		if s.admin == "" {
			s.admin = "test-admin-password"
			s.users = []string{DefaultUser, "user " + Admin + " on >" + s.admin + " allkeys allchannels allcommands"}
		}
		s.users = append(s.users, users...)
	}
}

// DefaultUser is the default user's line on a server with [ACL], as deploy/redis
// has it. Nobody can be that user, but the server reads its append-only file
// with its permissions: without them it skips transactions and scripts.
const DefaultUser = "user default off resetpass allkeys allchannels allcommands"

// Admin is the user of the test itself on a server with [ACL].
const Admin = "test-admin"

// TLS makes the server speak TLS only, with a certificate for 127.0.0.1, and
// let in only clients that show one of [Server.Certificate].
func TLS() Option {
	return func(s *Server) {
		s.network = "tcp"
		s.pki = newPKI(s.t, s.dir)
	}
}

// TLSWith is [TLS] with certificates from elsewhere.
func TLSWith(ca string, server, client Certificate) Option {
	return func(s *Server) {
		s.network = "tcp"
		s.pki = &pki{caFile: ca, server: server, client: client}
	}
}

// Start starts a server that ends with the test.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("rdbtest: no redis-server on this machine; run: apt-get install redis-server")
	}
	// Not t.TempDir, whose path can be too long for a socket.
	dir, err := os.MkdirTemp("", "rdbtest")
	if err != nil {
		t.Fatalf("rdbtest: %v", err)
	}
	s := &Server{t: t, dir: dir, network: "tcp"}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			log = log[max(0, len(log)-4000):]
			t.Logf("redis-server's log:\n%s", log)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("rdbtest: %v", err)
		}
	})
	for _, o := range options {
		o(s)
	}
	// Between finding a free port and listening on it, somebody else may.
	const tries = 5
	for i := 1; ; i++ {
		s.choose()
		err := s.start()
		if err == nil {
			return s
		}
		if s.network == "unix" || i == tries {
			t.Fatalf("rdbtest: starting redis-server: %v", err)
		}
	}
}

// choose finds an address.
func (s *Server) choose() {
	s.t.Helper()
	if s.network == "unix" {
		s.addr = filepath.Join(s.dir, "redis.sock")
		return
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.t.Fatalf("rdbtest: %v", err)
		}
		return l
	}
	l := listen()
	defer l.Close()
	s.addr = l.Addr().String()
	if s.cluster {
		l := listen()
		defer l.Close()
		_, s.bus, _ = net.SplitHostPort(l.Addr().String())
	}
}

// configuration is the content of the server's file.
func (s *Server) configuration() []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if s.base != "" {
		line("include %s", s.base)
	}
	line("dir %s", s.dir)
	line(`save ""`)
	line("daemonize no")
	line(`logfile ""`)
	if s.persist {
		// The process is killed, never the machine: what was written is there. With
		// everysec it would answer before it writes as long as the disk is busy.
		line("appendonly yes\nappendfsync no")
	}
	if s.users != nil {
		line("aclfile %s", filepath.Join(s.dir, "users.acl"))
	}
	_, port, _ := net.SplitHostPort(s.addr)
	switch {
	case s.network == "unix":
		line("port 0\nunixsocket %s\nunixsocketperm 700", s.addr)
	case s.pki != nil:
		line("bind 127.0.0.1\nport 0\ntls-port %s\ntls-auth-clients yes", port)
		line("tls-ca-cert-file %s\ntls-cert-file %s\ntls-key-file %s", s.pki.caFile, s.pki.server.CertFile, s.pki.server.KeyFile)
	default:
		line("bind 127.0.0.1\nport %s", port)
	}
	if s.cluster {
		line("cluster-enabled yes\ncluster-port %s\ncluster-node-timeout %d", s.bus, nodeTimeout.Milliseconds())
		line("repl-diskless-sync-delay 0\nrepl-ping-replica-period 1")
		if s.pki != nil {
			line("tls-cluster yes\ntls-replication yes")
		}
		if s.admin != "" {
			line("masteruser %s\nmasterauth %s", Admin, s.admin)
		}
	}
	for _, l := range s.conf {
		line("%s", l)
	}
	return b.Bytes()
}

// start starts a process and waits until it answers.
func (s *Server) start() error {
	conf := filepath.Join(s.dir, "redis.conf")
	if err := os.WriteFile(conf, s.configuration(), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "users.acl"), []byte(strings.Join(s.users, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("redis-server", conf)
	cmd.Stdout, cmd.Stderr = log, log
	// It must not outlive a test that is killed. The kernel ties that to the
	// thread which starts it, so that thread waits for its end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.mu.Lock()
	s.process = p
	s.mu.Unlock()
	if err := s.answers(p); err != nil {
		s.Kill()
		return err
	}
	return nil
}

// answers waits until the process p serves clients.
func (s *Server) answers(p *process) error {
	client, err := rdb.New(s.Config())
	if err != nil {
		return err
	}
	defer client.Close()
	limit := time.After(patience)
	for {
		if s.cluster { // it serves nobody before it has met the others
			err = client.Ping(s.t.Context()).Err()
		} else {
			err = rdb.Check(s.t.Context(), client)
		}
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return errors.New("it ended at once; its log is below")
		case <-limit:
			return fmt.Errorf("no answer within %v: %w", patience, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// URL is the server's address, for a user who may do everything.
func (s *Server) URL() string {
	if s.admin != "" {
		return s.URLOf(Admin, s.admin)
	}
	return s.address(nil)
}

// URLOf is the server's address for a user.
func (s *Server) URLOf(user, password string) string {
	return s.address(url.UserPassword(user, password))
}

func (s *Server) address(who *url.Userinfo) string {
	u := url.URL{Scheme: "redis", User: who, Host: s.addr}
	switch {
	case s.network == "unix":
		u = url.URL{Scheme: "unix", User: who, Path: s.addr}
	case s.pki != nil:
		u.Scheme = "rediss"
	}
	return u.String()
}

// Config is how to connect, as a user who may do everything.
func (s *Server) Config() rdb.Config { return s.config(s.URL()) }

// ConfigOf is how to connect as a user.
func (s *Server) ConfigOf(user, password string) rdb.Config { return s.config(s.URLOf(user, password)) }

func (s *Server) config(address string) rdb.Config {
	c := rdb.Config{URL: address}
	if s.pki != nil {
		c.CAFile, c.CertFile, c.KeyFile = s.pki.caFile, s.pki.client.CertFile, s.pki.client.KeyFile
	}
	return c
}

// Certificate returns the certificate files that a client needs: those of the
// authority, and of a client that it has signed. Without [TLS] the test fails.
func (s *Server) Certificate() (ca string, client Certificate) {
	s.t.Helper()
	if s.pki == nil {
		s.t.Fatal("rdbtest: a server without TLS has no certificates")
	}
	return s.pki.caFile, s.pki.client
}

// Client connects as a user who may do everything, until the test ends.
func (s *Server) Client() *redis.Client {
	s.t.Helper()
	return s.open(s.Config())
}

// ClientOf connects as a user, until the test ends.
func (s *Server) ClientOf(user, password string) *redis.Client {
	s.t.Helper()
	return s.open(s.ConfigOf(user, password))
}

func (s *Server) open(c rdb.Config) *redis.Client {
	s.t.Helper()
	return open(s.t, c).(*redis.Client)
}

// own is a client as Client's, the same each time.
func (s *Server) own() *redis.Client {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		s.client = s.Client()
	}
	return s.client
}

// alive reports whether the server runs.
func (s *Server) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process != nil
}

func open(t testing.TB, c rdb.Config) redis.UniversalClient {
	t.Helper()
	client, err := rdb.New(c)
	if err != nil {
		t.Fatalf("rdbtest: %v", err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// Kill ends the server as a crash would, and waits until it is gone.
func (s *Server) Kill() {
	s.mu.Lock()
	p := s.process
	s.process = nil
	s.mu.Unlock()
	if p == nil {
		return
	}
	syscall.Kill(p.pid, syscall.SIGKILL)
	<-p.done
}

// Restart starts a server at the same address again, after killing the one
// that runs. It has its data only with [AppendOnly].
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.start(); err != nil {
		s.t.Fatalf("rdbtest: restarting redis-server: %v", err)
	}
}

// RestartEmpty is Restart, with all data lost.
func (s *Server) RestartEmpty() {
	s.t.Helper()
	s.Kill()
	for _, name := range []string{"appendonlydir", "dump.rdb"} {
		if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
			s.t.Fatalf("rdbtest: %v", err)
		}
	}
	s.Restart()
}

// Pause keeps the server from answering until [Server.Resume]; connections
// stay open.
func (s *Server) Pause() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	// The signal is sent, and the process stopped a moment later.
	limit := time.Now().Add(patience)
	for s.running() {
		if time.Now().After(limit) {
			s.t.Fatal("rdbtest: redis-server did not stop")
		}
		time.Sleep(time.Millisecond)
	}
}

// Resume lets a paused server go on.
func (s *Server) Resume() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		s.t.Fatalf("rdbtest: no redis-server runs that could be sent %v", sig)
	}
	if err := syscall.Kill(s.process.pid, sig); err != nil {
		s.t.Fatalf("rdbtest: sending %v to redis-server: %v", sig, err)
	}
}

// running reports whether the process is not stopped.
func (s *Server) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(s.process.pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "T")
}
