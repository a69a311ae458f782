package symbol

import (
	"strings"
	"testing"
)

func TestReadable(t *testing.T) {
	for in, want := range map[string]string{
		"main":                               "main",
		"_ZNSt6vectorIiSaIiEE9push_backERKi": "std::vector::push_back",
		"_ZN6Server6handleERK7Request":       "Server::handle",
		"_ZN4core3ptr13drop_in_place17h0123456789abcdefE": "core::ptr::drop_in_place",
		"_RNvCs1234_7mycrate3foo":                         "mycrate::foo",
		"_Znot mangled":                                   "_Znot mangled",
		"_Z" + strings.Repeat("N", 5000):                  "_Z" + strings.Repeat("N", 5000),
	} {
		if got := readable(in); got != want {
			t.Errorf("%.60s: %.60q, want %.60q", in, got, want)
		}
	}
}

func FuzzReadable(f *testing.F) {
	f.Add("_ZNSt6vectorIiSaIiEE9push_backERKi")
	f.Add("_RNvCs1234_7mycrate3foo")
	f.Fuzz(func(t *testing.T, name string) {
		if got := readable(name); len(got) > max(len(name), 4<<10) || got == "" && name != "" {
			t.Errorf("%d bytes of %d", len(got), len(name))
		}
	})
}
