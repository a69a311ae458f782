package recipes

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

// library loads the built-in recipes.
func library(t testing.TB) *Library {
	t.Helper()
	l, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// files returns the built-in files, to be changed.
func files(t testing.TB) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	err := fs.WalkDir(embedded, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(embedded, name)
		out[name] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDefault(t *testing.T) {
	l := library(t)
	if n := len(l.Recipes()); n < 24 {
		t.Errorf("%d recipes, want at least 24", n)
	}
	for _, r := range l.Recipes() {
		if got, ok := l.Lookup(r.Name); !ok || got != r {
			t.Errorf("Lookup(%q) = %v, %v", r.Name, got, ok)
		}
	}
	if _, ok := l.Lookup("tcp"); ok {
		t.Error("Lookup found a recipe that is not there")
	}
}

// TestPhrasings holds that a recipe is found by every phrasing it claims.
func TestPhrasings(t *testing.T) {
	l := library(t)
	for _, r := range l.Recipes() {
		if n := len(r.Phrasings); n > 15 {
			t.Errorf("%s: %d phrasings, want at most 15", r.Name, n)
		}
		for _, p := range r.Phrasings {
			m, err := l.Match(p, MatchOptions{UserID: testUser})
			switch {
			case err != nil:
				t.Errorf("%s: %q: %v", r.Name, p, err)
			case m.Recipe != r:
				t.Errorf("%s: %q: got %s", r.Name, p, m.Recipe.Name)
			}
		}
	}
}

// parameter is a `const volatile` global of a C program.
var parameter = regexp.MustCompile(`(?m)^const volatile (\w+) (\w+)(\[[^\]]*\])?`)

// TestPrograms holds the parameters of every program against those of its
// recipe.yaml: the same names, and types that fit their roles.
func TestPrograms(t *testing.T) {
	types := map[Role][]string{
		RolePID: {"k_pid"}, RoleSenderPID: {"k_pid"}, RoleTargetPID: {"k_pid"}, RoleUser: {"k_uid"}, RoleSenderUser: {"k_uid"},
		RoleProcess: {"char"}, RoleSender: {"char"}, RoleServer: {"char"}, RoleTargetProcess: {"char"}, RolePath: {"char"},
		RolePort: {"k_port"}, RoleLocalPort: {"k_port"}, RoleDestPort: {"k_port"}, RoleAddress: {"k_ip"}, RoleSourceAddress: {"k_ip"}, RoleDestAddress: {"k_ip"},
		RoleErrno: {"k_errno"}, RoleSignal: {"k_signal"}, RoleSyscall: {"k_syscall"}, RoleCapability: {"k_cap"}, RoleThreshold: {"k_ns", "k_us", "k_ms"}, RoleSize: {"k_bytes"}, RoleDeadly: {"k_bool"},
	}
	for _, r := range library(t).Recipes() {
		if len(r.Source) == 0 {
			t.Errorf("%s: its program is empty", r.Name)
		}
		has := map[string]string{}
		if strings.Contains(string(r.Source), "KGENT_TASK_FILTER") {
			has["pid"], has["comm"], has["uid"] = "k_pid", "char", "k_uid"
		}
		for _, m := range parameter.FindAllStringSubmatch(string(r.Source), -1) {
			if !strings.HasPrefix(m[2], "kgent_") {
				has[m[2]] = m[1]
			}
		}
		for _, p := range r.Params {
			if slices.Contains([]Role{RoleInterface, RoleCgroup, RoleHz}, p.Role) {
				continue // where it is attached, not a global
			}
			if c, ok := has[p.Name]; !ok {
				t.Errorf("%s: program.bpf.c has no parameter %s", r.Name, p.Name)
			} else if !slices.Contains(types[p.Role], c) {
				t.Errorf("%s: parameter %s is a %s, its role %s wants %v", r.Name, p.Name, c, p.Role, types[p.Role])
			}
			delete(has, p.Name)
		}
		for name := range has {
			t.Errorf("%s: recipe.yaml does not have the program's parameter %s", r.Name, name)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	change := func(file, old, new string) func(fstest.MapFS) {
		return func(f fstest.MapFS) {
			data := string(f[file].Data)
			if !strings.Contains(data, old) {
				t.Fatalf("%s does not contain %q", file, old)
			}
			f[file] = &fstest.MapFile{Data: []byte(strings.Replace(data, old, new, 1))}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(fstest.MapFS)
		want   string
	}{
		{"no lexicon", func(f fstest.MapFS) { delete(f, "lexicon.yaml") }, "reading lexicon"},
		{"no program", func(f fstest.MapFS) { delete(f, "exec/program.bpf.c") }, "reading recipe exec: open exec/program.bpf.c"},
		{"no contract", func(f fstest.MapFS) { delete(f, "exec/contract.kc") }, "reading recipe exec: open exec/contract.kc"},
		{"contract that does not parse", change("exec/contract.kc", "emit execs {", "emmit execs {"), "reading the contract of recipe exec: 17:5: expected an effect"},
		{"contract of another title", change("exec/contract.kc", "full arguments", "arguments"), "its title is"},
		{"contract with another parameter", change("exec/contract.kc", "param uid", "param user"), "the recipe has no parameter user"},
		{"contract that means something else", change("exec/contract.kc", "only this user", "not this user"), "uid means"},
		{"contract without a parameter", change("exec/contract.kc", "param uid", "#"), "it lacks the parameter uid"},
		{"unknown key", change("exec/recipe.yaml", "title:", "headline:"), "reading recipe exec"},
		{"not YAML", func(f fstest.MapFS) { f["exec/recipe.yaml"] = &fstest.MapFile{Data: []byte("\t{")} }, "reading recipe exec"},
		{"other name", change("exec/recipe.yaml", "name: exec", "name: fork"), `its name is "fork"`},
		{"unknown role", change("exec/recipe.yaml", "role: pid", "role: ppid"), `no role "ppid"`},
		{"role twice", change("exec/recipe.yaml", "role: user", "role: pid"), "have the same name or role"},
		{"unknown concept", change("exec/recipe.yaml", "shows: [exec", "shows: [exek"), `no concept "exek"`},
		{"unknown role in about", change("exec/recipe.yaml", "run $pid", "run $pit"), `no role "pit"`},
		{"unknown output", change("exec/recipe.yaml", "[events]", "[lines]"), `"lines" is none of`},
		{"unknown need", change("packets/recipe.yaml", "needs: [interface]", "needs: [luck]"), `"luck" is none of`},
		{"too many rows", change("exec/recipe.yaml", "top: 0", "top: 5000"), "top 5000"},
		{"concept without home", change("lexicon.yaml", "anywhere: [call", "anywhere: [calls"), `no concept "calls"`},
		{"asking and negation", change("lexicon.yaml", "asking: >-\n", "asking: >-\n  except,\n"), "both a word of asking"},
		{"nothing", func(f fstest.MapFS) {
			for name := range f {
				if path.Base(name) != "lexicon.yaml" {
					delete(f, name)
				}
			}
		}, "there are none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := files(t)
			tt.change(f)
			if _, err := Load(f); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// TestOne holds that a library of a single recipe works as well.
func TestOne(t *testing.T) {
	f := files(t)
	for name := range f {
		if dir := path.Dir(name); dir != "." && dir != "exec" {
			delete(f, name)
		}
	}
	l, err := Load(f)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := l.Match("trace every exec", MatchOptions{}); err != nil || m.Recipe.Name != "exec" {
		t.Errorf("got %v, %v", m, err)
	}
}

// TestConcurrent lets the race detector watch many matches at once.
func TestConcurrent(t *testing.T) {
	l := library(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, r := range l.Recipes() {
				if _, err := l.Match(r.Phrasings[0], MatchOptions{UserID: testUser}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
