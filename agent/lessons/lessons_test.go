package lessons_test

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"kgent/agent"
	"kgent/agent/lessons"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb/rdbtest"
)

// One suite runs over both stores.
func TestLessons(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	clock := func() time.Time { return now }
	for name, open := range map[string]func(t *testing.T) agent.Lessons{
		"memory": func(*testing.T) agent.Lessons { return lessons.NewMemory(clock) },
		"file": func(t *testing.T) agent.Lessons {
			return lessons.NewFile(filepath.Join(t.TempDir(), "lessons.json"), clock)
		},
		"redis": func(t *testing.T) agent.Lessons {
			// As the user that a bot is.
			server := rdbtest.Start(t, rdbtest.Unix(), rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " ")))
			return lessons.NewRedis(server.ClientOf(bus.BotUser, "secret"), clock)
		},
		"cluster": func(t *testing.T) agent.Lessons {
			return lessons.NewRedis(rdbtest.StartCluster(t, 0, rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " "))).ClientOf(bus.BotUser, "secret"), clock)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, ctx := open(t), t.Context()
			a, b := agent.Lesson{Hook: "tp_btf/a", Code: "tgid", Times: 1}, agent.Lesson{Hook: "tp_btf/a", Code: "order", Times: 1}
			other := agent.Lesson{Hook: "tp_btf/b", Code: "tgid", Times: 1}
			for range 3 {
				if err := s.Learn(ctx, b); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Learn(ctx, a, other); err != nil {
				t.Fatal(err)
			}
			b.Times = 3
			got, err := s.About(ctx, []string{"tp_btf/a", "tp_btf/none"})
			if err != nil || !reflect.DeepEqual(got, []agent.Lesson{b, a}) {
				t.Errorf("%+v, %v", got, err)
			}
			// What was learnt longest ago makes room.
			var many []agent.Lesson
			for i := range lessons.MaxHooks {
				now = now.Add(time.Second)
				l := agent.Lesson{Hook: fmt.Sprintf("tp_btf/x%d", i), Code: "key", Times: 1}
				if many = append(many, l); name == "file" { // one write takes a disk's time
					continue
				}
				if err := s.Learn(ctx, l); err != nil {
					t.Fatal(err)
				}
			}
			if name == "file" {
				if err := s.Learn(ctx, many...); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := s.About(ctx, []string{"tp_btf/a", "tp_btf/b"}); err != nil || len(got) != 0 {
				t.Errorf("%+v, %v", got, err)
			}
			if got, err := s.About(ctx, []string{"tp_btf/x1"}); err != nil || len(got) != 1 {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	m := lessons.NewMemory(clock)
	if err := m.Learn(t.Context(), agent.Lesson{Hook: "h", Code: "key"}); err != nil {
		t.Fatal(err)
	}
	now = now.Add(lessons.Kept)
	if got, _ := m.About(t.Context(), []string{"h"}); len(got) != 0 {
		t.Errorf("remembered for ever: %+v", got)
	}
}
