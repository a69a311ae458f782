package contract

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func TestEnglish(t *testing.T) {
	for _, file := range recipeFiles(t) {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			c, err := Parse(readFile(t, file))
			if err != nil {
				t.Fatal(err)
			}
			got, golden := English(c), filepath.Join("testdata", "english", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := readFile(t, golden); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// An address that is compared with a network is none that is spelled so, but a text may be.
func TestNetworkWords(t *testing.T) {
	for condition, want := range map[string]string{
		`remote_ip(sk) == "10.0.0.0/8"`:                     "- If the remote address of the socket is an address of 10.0.0.0/8:",
		`remote_ip(sk) != "10.0.0.0/8"`:                     "- If the remote address of the socket is not an address of 10.0.0.0/8:",
		`!(local_ip(sk) in {"::1", "fe80::/10"})`:           "- If the local address of the socket is none of “::1” and an address of fe80::/10:",
		`ip4(sk.__sk_common.skc_daddr) == "192.168.0.0/16"`: "is an address of 192.168.0.0/16:",
		`current.comm == "10.0.0.0/8"`:                      "is “10.0.0.0/8”:",
	} {
		c, err := Parse("contract \"x\"\ntable n : count\nhook tp_btf/inet_sock_set_state(sk)\n  case a: " + condition + "\n    add 1 to n\n  otherwise nothing\n")
		if err != nil {
			t.Fatal(err)
		}
		if got := English(c); !strings.Contains(got, want) {
			t.Errorf("%s: want %q in\n%s", condition, want, got)
		}
	}
}
