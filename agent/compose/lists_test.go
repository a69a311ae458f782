package compose

import (
	"errors"
	"strings"
	"testing"

	"kgent/agent/contract"
)

// Lists of processes that are left out, and what is no such list; flags that share an argument with numbers.
func TestLists(t *testing.T) {
	c := host(t)
	for text, wants := range map[string][]string{
		"openat calls by process except bash, sh and python3":  {`!= "bash"`, `!= "sh"`, `!= "python3"`},
		"fsync latency per process, not mysqld or redis":       {`!= "mysqld"`, `!= "redis"`},
		"openat calls by process, not bash, top 5":             {`!= "bash"`, ""},
		"accept4 calls with SOCK_CLOEXEC, by process":          {"& SOCK_CLOEXEC) == SOCK_CLOEXEC"},
		"socket calls with SOCK_DGRAM by process":              {"& 0xf) == SOCK_DGRAM"},
		"count execs by user but not root, daemon or www-data": nil,
		"openat calls by process, not bash, sh":                nil,
		"system calls by process except futex, read and write": nil,
	} {
		got, err := c.Continue(t.Context(), nil, nil, text)
		var no *NoError
		switch {
		case errors.As(err, &no):
			if wants != nil {
				t.Errorf("%s: %v", text, err)
			}
		case err != nil:
			t.Fatal(err)
		case wants == nil:
			t.Errorf("%s: composed\n%s", text, contract.Format(got.Contract))
		default:
			k := contract.Format(got.Contract)
			for _, want := range wants {
				if !strings.Contains(k, want) {
					t.Errorf("%s: %s is not in\n%s", text, want, k)
				}
			}
			if strings.Contains(k, `"top"`) {
				t.Errorf("%s: leaves out top\n%s", text, k)
			}
		}
	}
}
