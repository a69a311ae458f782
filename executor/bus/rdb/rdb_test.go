package rdb_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"kgent/executor/bus/rdb"
	"kgent/executor/bus/rdb/rdbtest"
)

func TestMain(m *testing.M) {
	rdb.Quiet()
	goleak.VerifyTestMain(m)
}

const secret = "s3cret-pass"

func TestFromEnv(t *testing.T) {
	for _, c := range []struct {
		name    string
		env     map[string]string
		want    string // how it is shown
		exposed bool
		err     string
	}{
		{name: "not configured"},
		{name: "plain", env: map[string]string{"REDIS_URL": "redis://db.example"}, want: "redis://db.example:6379", exposed: true},
		{name: "password", env: map[string]string{"REDIS_URL": "redis://bot:" + secret + "@db.example:7000/3"}, want: "redis://bot@db.example:7000", exposed: true},
		{name: "loopback", env: map[string]string{"REDIS_URL": "redis://127.0.0.1:7000"}, want: "redis://127.0.0.1:7000"},
		{name: "loopback 6", env: map[string]string{"REDIS_URL": "redis://[::1]"}, want: "redis://[::1]:6379"},
		{name: "localhost", env: map[string]string{"REDIS_URL": "redis://localhost"}, want: "redis://localhost:6379"},
		{name: "no loopback", env: map[string]string{"REDIS_URL": "redis://127.0.0.1.example"}, want: "redis://127.0.0.1.example:6379", exposed: true},
		{name: "TLS", env: map[string]string{"REDIS_URL": "rediss://n:" + secret + "@db.example"}, want: "rediss://n@db.example:6379"},
		{name: "socket", env: map[string]string{"REDIS_URL": "unix://n:" + secret + "@/run/redis.sock"}, want: "unix://n@/run/redis.sock"},
		{name: "cluster", env: map[string]string{"REDIS_URL": "redis://bot:" + secret + "@a.example:7000,b.example,[::1]:7002"}, want: "redis://bot@a.example:7000,b.example:6379,[::1]:7002", exposed: true},
		{name: "cluster by one", env: map[string]string{"REDIS_URL": "redis://n@127.0.0.1:7000?cluster=true"}, want: "cluster redis://n@127.0.0.1:7000"},
		{name: "cluster, one exposed", env: map[string]string{"REDIS_URL": "redis://127.0.0.1:7000,10.0.0.1:7000"}, want: "redis://127.0.0.1:7000,10.0.0.1:7000", exposed: true},
		{name: "cluster with TLS", env: map[string]string{"REDIS_URL": "rediss://a,b/"}, want: "rediss://a:6379,b:6379"},
		{name: "cluster with a database", env: map[string]string{"REDIS_URL": "redis://a,b/3"}, err: "one database"},
		{name: "cluster with two users", env: map[string]string{"REDIS_URL": "redis://n@a,n:" + secret + "@b"}, err: "written once"},
		{name: "cluster with nobody", env: map[string]string{"REDIS_URL": "redis://a,,b"}, err: "of a cluster's servers"},
		{name: "cluster on a socket", env: map[string]string{"REDIS_URL": "unix:///run/redis.sock?cluster=true"}, err: "no socket"},
		{name: "no cluster", env: map[string]string{"REDIS_URL": "redis://a?cluster=false"}, err: "not understood"},
		{name: "no scheme", env: map[string]string{"REDIS_URL": "db.example:6379"}, err: "scheme"},
		{name: "http", env: map[string]string{"REDIS_URL": "http://" + secret + "@db.example"}, err: "scheme"},
		{name: "no host", env: map[string]string{"REDIS_URL": "redis://:6379"}, err: "no host"},
		{name: "bad port", env: map[string]string{"REDIS_URL": "redis://n:" + secret + "@db:port"}, err: "is no address"},
		{name: "bad password", env: map[string]string{"REDIS_URL": "redis://n:" + secret + "%zz@db"}, err: "is no address"},
		{name: "unescaped", env: map[string]string{"REDIS_URL": "redis://n:" + secret + "/x@db"}, err: "is no address"},
		{name: "unverified", env: map[string]string{"REDIS_URL": "rediss://db.example?skip_verify=true"}, err: "not understood"},
		{name: "bad database", env: map[string]string{"REDIS_URL": "redis://db.example/" + secret}, err: "number of a database"},
		{name: "socket with host", env: map[string]string{"REDIS_URL": "unix://run/redis.sock"}, err: "unix:///path"},
		{name: "certificate without key", env: map[string]string{"REDIS_URL": "rediss://db.example", "REDIS_CERT": "x"}, err: "goes with its key"},
		{name: "two passwords", env: map[string]string{"REDIS_URL": "redis://n:" + secret + "@db.example", "REDIS_PASSWORD_FILE": "x"}, err: "one of them"},
		{name: "password file", env: map[string]string{"REDIS_URL": "redis://n@db.example", "REDIS_PASSWORD_FILE": "x"}, want: "redis://n@db.example:6379", exposed: true},
		{name: "certificate without TLS", env: map[string]string{"REDIS_URL": "redis://db.example", "REDIS_CA": "x"}, err: "rediss://"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok, err := rdb.FromEnv(func(name string) string { return c.env[name] })
			if ok != (c.env != nil) {
				t.Errorf("configured: %v", ok)
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows the password: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return
			}
			for _, shown := range []string{got.String(), fmt.Sprintf("%v %+v %#v", got, got, &got)} {
				if strings.Contains(shown, secret) {
					t.Errorf("it shows the password: %s", shown)
				}
			}
			if got.String() != c.want || got.Exposed() != c.exposed {
				t.Errorf("%s exposed=%v, want %s %v", got, got.Exposed(), c.want, c.exposed)
			}
		})
	}
}

// Every way to miss a server says what to do, and never the password.
func TestOpen(t *testing.T) {
	plain := rdbtest.Start(t)
	users := rdbtest.Start(t, rdbtest.Unix(), rdbtest.ACL("user low on >"+secret+" +get", "user ok on >"+secret+" +hello +ping"))
	private := rdbtest.Start(t, rdbtest.TLS())
	ca, cert := private.Certificate()
	stranger := rdbtest.NewCertificate(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(content string) string {
		t.Helper()
		f, err := os.CreateTemp(t.TempDir(), "password")
		if err == nil {
			_, err = f.WriteString(content)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	user := strings.Replace(users.ConfigOf("ok", "").URL, "ok:@", "ok@", 1)
	swap := func(url, scheme string) string { return scheme + url[strings.Index(url, ":"):] }

	for _, c := range []struct {
		name   string
		config rdb.Config
		err    string // "" for a connection
		passes bool   // by itself
	}{
		{name: "plain", config: plain.Config()},
		{name: "user", config: users.ConfigOf("ok", secret)},
		{name: "password file", config: rdb.Config{URL: user, PasswordFile: file(secret + "\n")}},
		{name: "wrong password in the file", config: rdb.Config{URL: user, PasswordFile: file(secret + "x")}, err: "does not accept user and password"},
		{name: "no password in the file", config: rdb.Config{URL: user, PasswordFile: file("\n")}, err: "REDIS_PASSWORD_FILE"},
		{name: "two lines in the file", config: rdb.Config{URL: user, PasswordFile: file(secret + "\n" + secret)}, err: "REDIS_PASSWORD_FILE"},
		{name: "no password file", config: rdb.Config{URL: user, PasswordFile: "/nowhere"}, err: "REDIS_PASSWORD_FILE"},
		{name: "TLS", config: private.Config()},
		{name: "wrong password", config: users.ConfigOf("ok", secret+"x"), err: "does not accept user and password"},
		{name: "no password", config: rdb.Config{URL: strings.Replace(users.URL(), "test-admin:test-admin-password@", "", 1)}, err: "does not accept user and password"},
		{name: "no permission", config: users.ConfigOf("low", secret), err: "may not do what kgent needs"},
		{name: "nobody there", config: rdb.Config{URL: "redis://n:" + secret + "@" + nobody}, err: "nothing listens there", passes: true},
		{name: "no socket", config: rdb.Config{URL: "unix:///nowhere/redis.sock"}, err: "nothing listens there", passes: true},
		{name: "no authority", config: rdb.Config{URL: private.URL(), CertFile: cert.CertFile, KeyFile: cert.KeyFile}, err: "REDIS_CA"},
		{name: "another authority", config: rdb.Config{URL: private.URL(), CAFile: stranger.CertFile}, err: "REDIS_CA"},
		{name: "no certificate", config: rdb.Config{URL: private.URL(), CAFile: ca}, err: "REDIS_CERT"},
		{name: "certificate of a stranger", config: rdb.Config{URL: private.URL(), CAFile: ca, CertFile: stranger.CertFile, KeyFile: stranger.KeyFile}, err: "REDIS_CERT"},
		{name: "plain to TLS", config: rdb.Config{URL: swap(private.URL(), "redis")}, err: "rediss://", passes: true},
		{name: "TLS to plain", config: rdb.Config{URL: swap(plain.URL(), "rediss")}, err: "does not speak TLS", passes: true},
		{name: "another name", config: rdb.Config{URL: strings.Replace(private.URL(), "127.0.0.1", "localhost", 1), CAFile: ca, CertFile: cert.CertFile, KeyFile: cert.KeyFile}, err: "certificate is not good"},
		{name: "no such file", config: rdb.Config{URL: private.URL(), CAFile: "/nowhere/ca.pem"}, err: "reading REDIS_CA"},
		{name: "no certificate in the file", config: rdb.Config{URL: private.URL(), CAFile: garbage}, err: "holds no certificate"},
		{name: "no key in the file", config: rdb.Config{URL: private.URL(), CAFile: ca, CertFile: cert.CertFile, KeyFile: garbage}, err: "REDIS_KEY"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, err := rdb.Open(t.Context(), c.config)
			if err == nil {
				client.Close()
			}
			if c.err == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want one with %q", err, c.err)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the password: %v", err)
			}
			if errors.Is(err, rdb.ErrUnreachable) != c.passes {
				t.Errorf("passes by itself: want %v: %v", c.passes, err)
			}
		})
	}
}

// Whatever somebody writes into REDIS_URL, its password is not shown.
func FuzzPassword(f *testing.F) {
	f.Add("redis", "correct-horse", "db.example:6379/3")
	f.Add("rediss", "correct%zzhorse", "db.example")
	f.Add("unix", "correct/horse?", "/run/redis.sock")
	f.Add("redis", "1234567890@x", "db:port#")
	f.Fuzz(func(t *testing.T, scheme, password, rest string) {
		if len(password) < 8 || strings.Contains(scheme+rest+"redis://user:6379, rediss:// (TLS) or unix:///path", password) {
			t.Skip()
		}
		c, ok, err := rdb.FromEnv(func(name string) string {
			return map[string]string{"REDIS_URL": scheme + "://user:" + password + "@" + rest}[name]
		})
		shown := c.String() + fmt.Sprintf("%v %+v %#v", c, c, c)
		if err != nil {
			shown += err.Error()
		}
		if !ok || strings.Contains(shown, password) {
			t.Errorf("shown: %s", shown)
		}
	})
}
