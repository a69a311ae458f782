package redact

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// Tokens are put together here, so that nothing in this file looks like one to
// whoever scans it.
var (
	aws      = "AKIA" + "IOSFODNN7EXAMPLE"
	awsKey   = "wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY"
	github   = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
	slack    = "xoxb-" + "2048-4096-AbCdEfGhIjKlMnOp1234"
	jwt      = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
	pem      = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA " + "PRIVATE KEY-----"
	base64   = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA"
	password = "hunter2"
)

func TestSecrets(t *testing.T) {
	r, err := New("correct horse battery", "s3cr3t-value-of-ours")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ in, want string }{
		{"aws s3 ls --key " + aws, "aws s3 ls --key *"},
		{"AWS_SECRET_ACCESS_KEY=" + awsKey + " aws s3 ls", "AWS_SECRET_ACCESS_KEY=* aws s3 ls"},
		{"git clone https://" + github + "@github.com/a/b", "git clone https://*@github.com/a/b"},
		{"git clone https://me:" + github + "@github.com/a/b", "git clone https://me:*@github.com/a/b"},
		{"curl -H 'Authorization: Bearer " + jwt + "' https://api", "curl -H 'Authorization: Bearer *' https://api"},
		{"Authorization: Basic dXNlcjpwYXNz\r\nHost: x", "Authorization: Basic *\r\nHost: x"},
		{"authorization: abcdef", "authorization: *"},
		{"bearer abcdefgh1234", "bearer *"},
		{"cookie=" + jwt, "cookie=*"},
		{jwt[:40], "*"},
		{pem, "*"},
		{"x " + pem + " y", "x * y"},
		{pem[:50], "*"},
		{"mysql --password=" + password + " -u root", "mysql --password=* -u root"},
		{"mysql --password " + password + " -u root", "mysql --password * -u root"},
		{"PGPASSWORD=" + password + " psql", "PGPASSWORD=* psql"},
		{"MYSQL_PWD=" + password, "MYSQL_PWD=*"},
		{"password = '" + password + " with blanks' next", "password = '*' next"},
		{`{"user":"a","password":"x\"y","n":1}`, `{"user":"a","password":"*","n":1}`},
		{`{"clientSecret": "abc", "accessToken":"def"}`, `{"clientSecret": "*", "accessToken":"*"}`},
		{"GET /?api_key=abcdef&x=1 HTTP/1.1", "GET /?api_key=*&x=1 HTTP/1.1"},
		{"X-Auth-Token: abcdef123", "X-Auth-Token: *"},
		{"postgres://bob:" + password + "@db-1:5432/app", "postgres://bob:*@db-1:5432/app"},
		{"postgres://bob:p@ss@db-1/app", "postgres://bob:*@db-1/app"},
		{"redis://:" + password + "@cache", "redis://:*@cache"},
		{"postgres://bob:hunt", "postgres://bob:*"},
		{"CREATE USER a IDENTIFIED BY 'abc'", "CREATE USER a IDENTIFIED BY '*'"},
		{"ALTER ROLE a PASSWORD 'abc'", "ALTER ROLE a PASSWORD '*'"},
		{"SET PASSWORD FOR a = PASSWORD('abc')", "SET PASSWORD FOR a = PASSWORD('*')"},
		{slack, "*"},
		{"key " + base64 + "= end", "key * end"},
		{"say correct horse battery staple", "say * staple"},
		{"cut off: s3cr3t-va", "cut off: *"},
		{"a=s3cr3t-value-of-ours;password=s3cr3t-value-of-ours", "a=*;password=*"},
		{"password=" + password + " password=" + password, "password=* password=*"},
		{"password=größe", "password=*"},
		{"mysql '--password=two words' shop", "mysql '--password=*' shop"},
		{"mysqldump -uroot -phunter2 -P3306 shop", "mysqldump -uroot -p* -P3306 shop"},
		{"/usr/bin/mysql -u root -pa;b", "/usr/bin/mysql -u root -p*;b"},
		{"sshpass -p hunter2 ssh -p 22 host", "sshpass -p * ssh -p 22 host"},
		{"redis-cli -h cache -a hunter2 ping", "redis-cli -h cache -a * ping"},
		{"curl -s -u bob:hunter2 https://api", "curl -s -u bob:* https://api"},
		{"curl --user 'bob:two words' https://api", "curl --user 'bob:*' https://api"},
	} {
		want := strings.ReplaceAll(tt.want, "*", Mark)
		if got := r.String(tt.in); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.in, got, want)
		}
	}
}

// What traces are full of stays as it is.
func TestNoSecrets(t *testing.T) {
	r, err := New("s3cr3t-value-of-ours")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		"", "a", "postgres", "/usr/lib/x86_64-linux-gnu/libc.so.6", "/home/me/.ssh/id_ed25519.pub", "/etc/passwd", "/etc/shadow", "/run/secrets/db-password", "/proc/1234/task/1234/stat",
		"d41d8cd98f00b204e9800998ecf8427e", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
		"/sys/fs/cgroup/system.slice/docker-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.scope",
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod3f2b8c1e_9d47_4a6b_8c35_0e1f2a3b4c5d.slice", "3f2b8c1e-9d47-4a6b-8c35-0e1f2a3b4c5d",
		"/nix/store/0c5qw9zmb5sskvgnbrk2dj4nn8vqk3xh-glibc-2.38/lib/ld.so", "10.0.0.1:5432", "2001:db8::1", "http://10.0.0.1:8080/path", "https://[2001:db8::1]:443/", "http://host:80", "ssh://git@github.com/a/b",
		"git@github.com:a/b.git", "0xffffffff81000000", "tcp_v4_connect+0x1f", "_ZNSt6vectorIiSaIiEE9push_backERKi", "_ZN4llvm12DenseMapBaseINS_8DenseMapIPKNS_5ValueE",
		"libQt5WaylandClientHardwareIntegration.so.5.15.2", "org.apache.hadoop.hdfs.server.namenode.FSNamesystemAuditLogger2Implementation", "AbstractSingletonProxyFactoryBeanConfigurationAdapterV2",
		"My-Deployment-2026-03-04-Prod-Release-V2-Candidate", "SELECT id, token FROM sessions WHERE password IS NULL", "SELECT * FROM users WHERE id = 5", "unexpected token: foo", "syntax error at token 'x",
		"--password-file=/run/secrets/x", "--password-file /run/secrets/x", "PWD=/root", "OLDPWD=/home/a", "bypass=1", "compass: north", "max_tokens=5", "tokens=17", "password=", "password=$PASSWORD", "password=***", "token=true",
		"sha512-q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ", "SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8", "bearer of bad news", "IDENTIFIED BY nobody",
		"-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----", "2026-03-04T03:00:00.123456789Z", "java -Xmx4G -XX:+UseG1GC -jar service-1.2.3-SNAPSHOT.jar", "AKIA", "eyJ", "sk-learn", "sk-something-with-words-only",
		"/var/lib/postgresql/16/main/base/16384/2619", "CVE-2024-12345", "aGVsbG8=", "token bucket", "secret santa", "the password is", "passwd root", "strace -e trace=openat,read,write -p 1234", "ghp_", "npm_config_cache=/root/.npm",
		"curl -u bob https://api", "mysql -p shop", "tar -p -c mysql", "ssh -p2222 host", "redis-cli -h cache ping", "pw=5", "keyboard", "monkey=banana", "primary_key=id", "PRIMARY KEY (id)", "cache_key=user:5",
	} {
		if got := r.String(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func TestNew(t *testing.T) {
	if _, err := New("long enough", "short"); err == nil || !strings.Contains(err.Error(), "value 2") {
		t.Errorf("a short value: %v", err)
	}
	r, err := FromEnv("first secret\r\n\nsecond secret")
	if err != nil || len(r.exact) != 2 {
		t.Fatalf("%v, %v", r, err)
	}
	if got := r.String("a second secret"); got != "a "+Mark {
		t.Errorf("got %q", got)
	}
	var none *Redactor
	if got := none.String("password=abc"); got != "password=abc" {
		t.Errorf("nothing made %q", got)
	}
	in := []byte("nothing in here")
	if out := r.Bytes(in); &out[0] != &in[0] {
		t.Error("copied for nothing")
	}
}

// Most random tokens are found, though some look like names by chance.
func TestRandom(t *testing.T) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	source := rand.New(rand.NewPCG(1, 2))
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	const n = 5000
	for range n {
		b := make([]byte, 40)
		for i := range b {
			b[i] = letters[source.IntN(len(letters))]
		}
		if r.String(string(b)) == Mark {
			found++
		}
	}
	if found < n*95/100 {
		t.Errorf("found %d of %d", found, n)
	}
}

func FuzzBytes(f *testing.F) {
	for _, s := range []string{"password=abc", pem, jwt, "http://a:b@c", "password='\\", "-----BEGIN PRIVATE KEY-----END", `"token": "`, "identified by '", "postgres://b:s3cr3t-value-of-ours@"} {
		f.Add([]byte(s))
	}
	r, err := New("s3cr3t-value-of-ours")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		out := r.Bytes(in)
		if !bytes.Equal(in, before) {
			t.Fatalf("it changed its input %q", before)
		}
		if bytes.Contains(out, []byte("s3cr3t-value-of-ours")) {
			t.Fatalf("%q is still in %q", "s3cr3t-value-of-ours", out)
		}
		if utf8.Valid(in) && !utf8.Valid(out) {
			t.Fatalf("%q became %q, which is no text", in, out)
		}
		if len(out) > len(in)*len(Mark) {
			t.Fatalf("%d bytes became %d", len(in), len(out))
		}
	})
}

func BenchmarkBytes(b *testing.B) {
	r, err := New("s3cr3t-value-of-ours", "another secret value")
	if err != nil {
		b.Fatal(err)
	}
	for _, x := range []struct{ name, in string }{
		{"comm", "systemd-journal"},
		{"path", "/usr/lib/x86_64-linux-gnu/gio/modules/libgiognutls.so"},
		{"argv", "java -Xmx4G -XX:+UseG1GC -Dspring.profiles.active=prod -jar /srv/app/service-1.2.3-SNAPSHOT.jar --server.port=8080"},
		{"sql", "SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.created_at > now() - interval '1 day' ORDER BY o.total DESC LIMIT 10"},
		{"secret", "mysql --host db-1 --user root --password=hunter2 shop"},
	} {
		b.Run(x.name, func(b *testing.B) {
			in := []byte(x.in)
			b.ReportAllocs()
			for b.Loop() {
				r.Bytes(in)
			}
		})
	}
}
