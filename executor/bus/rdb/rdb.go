// Package rdb connects to Redis: where it is, how the connection is protected,
// and in words what is wrong when there is none.
//
// It is configured by the environment, the same for every command:
//
//	REDIS_URL   redis://[user:password@]host[:port][/db], rediss://… for TLS,
//	            or unix://[user:password@]/path for a socket of this host;
//	            a cluster has several of its servers' addresses,
//	            redis://[user:password@]host:port,host:port,…, or one and
//	            ?cluster=true at the end
//	REDIS_CA    file with the certificates (PEM) that sign the server's;
//	            without it, those that this host trusts
//	REDIS_CERT  file with the certificate (PEM) that this process shows, and
//	REDIS_KEY   file with its key; both or neither
//	REDIS_PASSWORD_FILE  file with the password, instead of in the address
//
// Files are read again for each new connection, so that what is in them can be
// renewed while a process runs; REDIS_CA is read once.
//
// No error, log line or name that comes from here shows the password.
package rdb

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says where Redis is.
type Config struct {
	// URL is as REDIS_URL. It may hold a password: print a Config, which shows
	// none, never its URL.
	URL string
	// CAFile, CertFile and KeyFile are as REDIS_CA, REDIS_CERT and REDIS_KEY.
	CAFile, CertFile, KeyFile string
	// PasswordFile is as REDIS_PASSWORD_FILE.
	PasswordFile string
}

// FromEnv reads the environment; false means that REDIS_URL is not set.
func FromEnv(getenv func(string) string) (Config, bool, error) {
	c := Config{URL: getenv("REDIS_URL"), CAFile: getenv("REDIS_CA"), CertFile: getenv("REDIS_CERT"), KeyFile: getenv("REDIS_KEY"), PasswordFile: getenv("REDIS_PASSWORD_FILE")}
	if c.URL == "" {
		return Config{}, false, nil
	}
	if _, _, err := c.options(); err != nil {
		return Config{}, true, err
	}
	return c, true, nil
}

// String names the server without the password.
func (c Config) String() string {
	o, cluster, err := c.options()
	if err != nil {
		return "a Redis whose address cannot be read"
	}
	who := ""
	if o.Username != "" {
		who = o.Username + "@"
	}
	switch {
	case o.Network == "unix":
		return "unix://" + who + o.Addr
	case cluster != nil:
		o.Addr = strings.Join(cluster, ",")
	}
	scheme := "redis://"
	if o.TLSConfig != nil {
		scheme = "rediss://"
	}
	if len(cluster) == 1 {
		scheme = "cluster " + scheme
	}
	return scheme + who + o.Addr
}

// User is who logs in; empty is the default user.
func (c Config) User() string {
	o, _, err := c.options()
	if err != nil {
		return ""
	}
	return o.Username
}

// GoString keeps the password from %#v.
func (c Config) GoString() string { return c.String() }

// Exposed reports that what is sent can be read and changed on its way: the
// connection leaves this host and is not encrypted.
func (c Config) Exposed() bool {
	o, cluster, err := c.options()
	if err != nil {
		return true
	}
	if o.Network == "unix" || o.TLSConfig != nil {
		return false
	}
	return slices.ContainsFunc(append(cluster, o.Addr), func(addr string) bool {
		host, _, _ := net.SplitHostPort(addr)
		ip := net.ParseIP(host)
		return host != "localhost" && (ip == nil || !ip.IsLoopback())
	})
}

// How long Redis may take. A command of kgent's is small; one that is slower
// than this finds a server that is gone, paused or swamped.
const (
	dialLimit = 3 * time.Second
	ioLimit   = 3 * time.Second
)

// hosts takes the other addresses out of an address with several.
func hosts(address string) (one string, others []string) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return address, nil
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	list := strings.Split(rest[strings.LastIndex(rest[:end], "@")+1:end], ",")
	if len(list) == 1 {
		return address, nil
	}
	first := rest[:end-len(strings.Join(list[1:], ","))-1]
	return scheme + "://" + first + rest[end:], list[1:]
}

// options reads the configuration, its files excepted. Of a cluster it also
// returns the servers that are named.
func (c Config) options() (o *redis.Options, cluster []string, err error) {
	bad := func(format string, args ...any) (*redis.Options, []string, error) {
		return nil, nil, fmt.Errorf("reading REDIS_URL: "+format, args...)
	}
	one, others := hosts(c.URL)
	// What the parser says could quote the password.
	u, err := url.Parse(one)
	if err != nil {
		return bad("it is no address; write redis://host:6379, rediss://host:6379 or unix:///path, and %%-escape what is special in a password")
	}
	if u.Scheme != "redis" && u.Scheme != "rediss" && u.Scheme != "unix" || u.Opaque != "" {
		return bad("its scheme is not redis://, rediss:// (TLS) or unix://")
	}
	clustered := len(others) > 0 || u.RawQuery == "cluster=true"
	if u.RawQuery != "" && u.RawQuery != "cluster=true" || u.Fragment != "" {
		return bad("what follows the path (?…, #…) is not understood, except ?cluster=true; %%-escape ? and # in a password")
	}
	o = &redis.Options{
		Username:              u.User.Username(),
		DisableIdentity:       true, // a node's user may not use CLIENT
		ContextTimeoutEnabled: true,
		DialTimeout:           dialLimit,
		DialerRetries:         1,
		ReadTimeout:           ioLimit,
		WriteTimeout:          ioLimit,
		// Whoever sends a command knows whether it may be sent twice.
		MaxRetries:               -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if strings.ContainsAny(o.Username, "@,") {
		return bad("the user is written once, before the first address; %%-escape @ and , in a name")
	}
	password, given := u.User.Password()
	o.Password = password
	if c.PasswordFile != "" {
		if given {
			return bad("it holds a password and REDIS_PASSWORD_FILE is set; one of them is enough")
		}
		user := o.Username
		o.CredentialsProviderContext = func(context.Context) (string, string, error) {
			password, err := readPassword(c.PasswordFile)
			return user, password, err
		}
	}
	if u.Scheme == "unix" {
		if u.Host != "" || u.Path == "" || u.Path == "/" {
			return bad("a socket is written unix:///path/to/redis.sock")
		}
		if clustered {
			return bad("a cluster has no socket; write redis://host:6379,host:6379 or rediss://…")
		}
		o.Network, o.Addr = "unix", u.Path
		return o, nil, c.checkFiles(false)
	}
	addr := func(u *url.URL) string { return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379")) }
	if u.Hostname() == "" {
		return bad("it names no host; write %s://host:6379", u.Scheme)
	}
	o.Network, o.Addr = "tcp", addr(u)
	if clustered {
		cluster = []string{o.Addr}
	}
	for _, other := range others {
		u, err := url.Parse(u.Scheme + "://" + other)
		if err != nil || u.Hostname() == "" || u.User != nil {
			return bad("the addresses of a cluster's servers are written %s://user@host:6379,host:6379", u.Scheme)
		}
		cluster = append(cluster, addr(u))
	}
	if clustered && strings.Trim(u.Path, "/") != "" {
		return bad("a cluster has one database, without a number")
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if o.DB, err = strconv.Atoi(db); err != nil || o.DB < 0 {
			return bad("the path is the number of a database, or nothing")
		}
	}
	if u.Scheme == "rediss" {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if !clustered { // there each server has its own name
			o.TLSConfig.ServerName = u.Hostname()
		}
	}
	return o, cluster, c.checkFiles(u.Scheme == "rediss")
}

// maxPassword is the size of the largest file with a password, in bytes.
const maxPassword = 4096

// readPassword returns a file's only line.
func readPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading REDIS_PASSWORD_FILE: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return "", fmt.Errorf("reading REDIS_PASSWORD_FILE: %w", err)
	}
	password := strings.TrimRight(string(b), "\r\n")
	if password == "" || len(b) > maxPassword || strings.ContainsAny(password, "\r\n") {
		return "", fmt.Errorf("reading REDIS_PASSWORD_FILE: %s is not one line with a password", path)
	}
	return password, nil
}

func (c Config) checkFiles(tls bool) error {
	switch {
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("reading REDIS_CERT and REDIS_KEY: one is set and the other is not; a certificate goes with its key")
	case !tls && (c.CAFile != "" || c.CertFile != ""):
		return errors.New("reading REDIS_URL: certificates are configured (REDIS_CA, REDIS_CERT), but this is no TLS address; write rediss://")
	}
	return nil
}

// New returns a client that has not connected yet: a [redis.ClusterClient] if the
// address is that of a cluster, else a [redis.Client]. It reads the certificate's
// files now and again for each connection, so that they can be renewed. The
// caller closes it.
func New(c Config) (redis.UniversalClient, error) {
	o, cluster, err := c.options()
	if err != nil {
		return nil, err
	}
	if c.PasswordFile != "" {
		if _, err := readPassword(c.PasswordFile); err != nil {
			return nil, err
		}
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading REDIS_CA: %w", err)
		}
		o.TLSConfig.RootCAs = x509.NewCertPool()
		if !o.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading REDIS_CA: %s holds no certificate (PEM)", c.CAFile)
		}
	}
	if c.CertFile != "" {
		load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("reading REDIS_CERT and REDIS_KEY: %w", err)
			}
			return &cert, nil
		}
		if _, err := load(nil); err != nil {
			return nil, err
		}
		o.TLSConfig.GetClientCertificate = load
	}
	if cluster != nil {
		return newCluster(o, cluster), nil
	}
	return redis.NewClient(o), nil
}

// Open returns a client that has reached its server. The caller closes it.
func Open(ctx context.Context, c Config) (redis.UniversalClient, error) {
	client, err := New(c)
	if err != nil {
		return nil, err
	}
	if err := Check(ctx, client); err != nil {
		client.Close()
		return nil, fmt.Errorf("connecting to %s: %w", c, err)
	}
	return client, nil
}

// ErrUnreachable is wrapped by errors of [Open] and [Check] that may pass by
// themselves: the server is away, starting, or does not answer in time. Others
// need somebody to change something.
var ErrUnreachable = errors.New("Redis is out of reach")

// Quiet keeps the client library from writing to standard error; everything
// it has to say is in errors, too. It is for a process to call once, before it
// connects.
func Quiet() { redis.SetLogger(silence{}) }

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// minMajor is the oldest Redis that knows what nodes' permissions are written
// with: keys that may be read, or written, only.
const minMajor = 7

// Check asks the server who it is, and of a cluster each primary.
func Check(ctx context.Context, client redis.UniversalClient) error {
	switch c := client.(type) {
	case *redis.Client:
		return check(ctx, c, "standalone")
	case *redis.ClusterClient:
		return checkCluster(ctx, c)
	}
	return fmt.Errorf("a client of kind %T cannot be checked", client)
}

// check asks a server who it is, and whether it is what REDIS_URL takes it for.
func check(ctx context.Context, client *redis.Client, mode string) error {
	hello, err := client.Do(ctx, "HELLO").Result()
	if err == nil {
		err = client.Ping(ctx).Err() // a server that is still loading greets, too
	}
	if err != nil {
		return explain(err, client.Options().TLSConfig != nil)
	}
	version, is := "", ""
	if m, ok := hello.(map[any]any); ok {
		version, _ = m["version"].(string)
		is, _ = m["mode"].(string)
	}
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < minMajor {
		return fmt.Errorf("the server is Redis %.20q; kgent needs Redis %d or later", version, minMajor)
	}
	if is == "cluster" && mode != is {
		return errors.New("the server is one of a cluster: put ?cluster=true behind REDIS_URL, or name several of its servers")
	}
	return nil
}

// explain says what to do about an error of a connection.
func explain(err error, encrypted bool) error {
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var lookup *net.DNSError
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "WRONGPASS"), strings.HasPrefix(text, "NOAUTH"):
		return fmt.Errorf("the server does not accept user and password (write redis://user:password@host): %w", err)
	case strings.HasPrefix(text, "NOPERM"):
		return fmt.Errorf("the server's user may not do what kgent needs (`kgent keys acl` prints the users): %w", err)
	case strings.Contains(text, "cluster support disabled"):
		return fmt.Errorf("the server is none of a cluster; REDIS_URL has one address then, and no ?cluster=true: %w", err)
	case strings.HasPrefix(text, "LOADING"), strings.HasPrefix(text, "MASTERDOWN"):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	case errors.As(err, &record), encrypted && os.IsTimeout(err):
		return fmt.Errorf("%w: what listens there does not speak TLS, or hangs; without TLS it is redis://: %w", ErrUnreachable, err)
	case errors.As(err, &authority):
		return fmt.Errorf("the server's certificate is signed by nobody this host trusts; name the signer's certificate in REDIS_CA: %w", err)
	case errors.As(err, &name), errors.As(err, &invalid):
		return fmt.Errorf("the server's certificate is not good: %w", err)
	case strings.Contains(text, "tls: certificate required"), strings.Contains(text, "tls: bad certificate"),
		strings.Contains(text, "tls: unknown certificate"):
		return fmt.Errorf("the server wants a certificate that it trusts; name one in REDIS_CERT and REDIS_KEY: %w", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("this process may not connect there: %w", err)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: nothing listens there; start it, or correct REDIS_URL: %w", ErrUnreachable, err)
	case errors.As(err, &lookup):
		return fmt.Errorf("%w: the name of its host is not known: %w", ErrUnreachable, err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%w: it hung up at once; a server that speaks TLS only is written rediss://: %w", ErrUnreachable, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}
