package thread_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"kgent/bot/thread"
)

// Tables keep within the width of where they are read, with every word whole.
func TestAligned(t *testing.T) {
	for _, tc := range []struct {
		name  string
		rows  [][]string
		width int
		want  string
	}{
		{"fits", [][]string{{"db-1", "Linux 6.1", "role=db env=dev"}, {"a", "Linux 6.18", ""}}, 56, "" +
			"db-1  Linux 6.1   role=db env=dev\n" +
			"a     Linux 6.18"},
		{"goes on below", [][]string{{"run-queue-latency", "How long tasks wait for a CPU, as a histogram"}, {"exec", "Programs"}}, 50, "" +
			"run-queue-latency  How long tasks wait for a CPU,\n" +
			"                   as a histogram\n" +
			"exec               Programs"},
		{"lines of its own", [][]string{{"db-1", "Linux 6.1.0-37-cloud-amd64", "role=db env=production zone=eu-west-1"}, {"db-2", "Linux 6.18", ""}}, 50, "" +
			"db-1  Linux 6.1.0-37-cloud-amd64\n" +
			"  role=db env=production zone=eu-west-1\n" +
			"db-2  Linux 6.18"},
		{"nothing", nil, 50, ""},
	} {
		got := thread.Aligned(tc.rows, tc.width)
		if got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.name, got, tc.want)
		}
		for _, l := range strings.Split(got, "\n") {
			if utf8.RuneCountInString(l) > tc.width {
				t.Errorf("%s: %q is wider than %d", tc.name, l, tc.width)
			}
		}
	}
}
