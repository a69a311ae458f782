package result

import "testing"

// What nodes say is the same but for their own names, which are not looked for in the names of
// others.
func TestNameless(t *testing.T) {
	for _, tt := range []struct{ name, says, want string }{
		{"db-1", "node db-1: no such hook", "the node: no such hook"},
		{"db-1", "no such hook on db-1.", "no such hook on the node."},
		{"db-1", "db-1", "the node"},
		{"db-1", "db-1 waits for db-10 and db-1", "the node waits for db-10 and the node"},
		{"db-1", "not db-1.eu, eu.db-1, my_db-1, db-1-a, xdb-1, db-11", "not db-1.eu, eu.db-1, my_db-1, db-1-a, xdb-1, db-11"},
		{"a", "a graph has a node a", "the node graph has the node the node"},
		{"1", "11 of 1111, (1)", "11 of 1111, (the node)"},
		{"aa", "aaa aa", "aaa the node"},
		{"x", "", ""},
		{"", "nobody", "nobody"},
	} {
		if got := nameless(tt.says, tt.name); got != tt.want {
			t.Errorf("%s, %q: %q, want %q", tt.name, tt.says, got, tt.want)
		}
	}
	got := Groups([]Node{
		{Name: "db-1", State: Failed, Detail: "db-1 follows db-10"},
		{Name: "db-10", State: Failed, Detail: "db-10 follows db-10"},
	})
	if len(got) != 2 {
		t.Errorf("two answers became one: %+v", got)
	}
}
