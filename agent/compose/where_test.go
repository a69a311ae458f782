package compose

import (
	"errors"
	"strings"
	"testing"

	"kgent/agent/contract"
)

// TestWhere: a request that names a container is narrowed to it, whatever words name it, and no other word
// is lost; or it is refused. Turns of a conversation are parted by ">>".
func TestWhere(t *testing.T) {
	c := host(t)
	for text, want := range map[string]string{
		"file opens in container web":                                           "container:web | Files that processes open",
		"file opens in the web container":                                       "container:web",
		"fsync latency of pod shop/db-0":                                        "pod:shop/db-0",
		"fsync latency of the nginx container for a minute":                     "container:nginx",
		"failing opens in containers labelled app=shop":                         "label:app=shop",
		"failing opens in label:app=shop":                                       "label:app=shop",
		"file opens in pods with label tier=web of nginx":                       "label:tier=web",
		"file opens in container:web":                                           "container:web",
		"file opens in container nginx of pod shop/web-1":                       "container:shop/web-1/nginx",
		"file opens in container a1b2c3d4e5f6":                                  "container:a1b2c3d4e5f6",
		`file opens in container "file"`:                                        "container:file",
		"file opens in cgroup system.slice/cron.service":                        "/system.slice/cron.service",
		"file opens under /etc in container web":                                "container:web",
		"file opens by pid 1 in container web":                                  "container:web inner 1",
		"tcp connects by process 7 in pod shop/web-1":                           "pod:shop/web-1 inner 7",
		"tcp connects from container web":                                       "container:web",
		"off-cpu time of container web":                                         "container:web",
		"CPU profile of container web":                                          "container:web",
		"context switches in container web":                                     "container:web",
		"how long does openat take in pod shop/web-1 per process":               "pod:shop/web-1",
		"count openat by process in container web not nginx":                    "container:web",
		"slow syscalls in container web slower than 10ms":                       "container:web",
		"for container web: file opens":                                         "container:web",
		"container web: file opens":                                             "container:web",
		"our container web is slow. file opens in it":                           "container:web",
		"for container:web: file opens":                                         "container:web",
		"pod:shop/x: file opens":                                                "pod:shop/x",
		"for the pods of web: file opens":                                       "no",
		"container web: network bytes by cgroup":                                "attached container:web",
		"my pod is slow, file opens of nginx":                                   "no",
		"file opens in the docker container web":                                "container:web",
		"file opens >> for container web: only nginx":                           "container:web",
		"file opens >> only in container web":                                   "container:web",
		"file opens in container web >> only those of nginx":                    "container:web",
		"count openat by process in container web >> in container db":           "container:db",
		"count openat by process in container web >> as a histogram of latency": "container:web",
		"network bytes by cgroup in container web":                              "attached container:web",

		"tcp retransmits in container web":              "no it is not known to be the doing of the task that runs then",
		"run queue latency in pod shop/db-0":            "no it is not known to be the doing of the task that runs then",
		"tcp connection lifetimes in container web":     "no it is not known to be the doing of the task that runs then",
		"how long do softirqs take in container web":    "no it is not known to be the doing",
		"block device latency in container web":         "no it is not known to be the doing",
		"oom kills in container web":                    "no not victim_pid, to whom it happens",
		"tcp accepts from container web":                "no can be the other end of a connection",
		"file opens in container web and container db":  "no",
		"file opens not in container web":               "no leaves something out",
		"file opens outside of container web":           "no leaves something out",
		"file opens by nginx not in container web":      "no leaves something out",
		"file opens in every container":                 "no",
		"file opens except in container web":            "no leaves something out",
		"file opens without container web":              "no leaves something out",
		"file opens in container web in anger":          "no",
		"which container has the most failing opens":    "no",
		"which container opens the most files":          "no",
		"programs executed in containers":               "no",
		"file opens in pods web and db":                 "no",
		"file opens in container names":                 "no",
		"file opens in containers with app":             "no",
		"file opens in container ../../etc":             "no",
		"file opens in container web or by nginx":       "no",
		"signals to container web":                      "no",
		"tcp connects to container web":                 "no",
		"file opens by pid 1 in container web or pod x": "no",
	} {
		turns := strings.Split(text, " >> ")
		got, err := c.Continue(t.Context(), turns[:len(turns)-1], nil, turns[len(turns)-1])
		var none *NoError
		if why, refused := strings.CutPrefix(want, "no"); refused {
			if err == nil {
				t.Errorf("%s: composed %q, narrowed to %q", text, got.Contract.Title, contract.Where(got.Contract))
			} else if errors.As(err, &none) && !strings.Contains(err.Error(), strings.TrimSpace(why)) {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		want, title, _ := strings.Cut(want, " | ")
		if target, ok := strings.CutPrefix(want, "attached "); ok {
			if got.Options.Cgroup != target {
				t.Errorf("%s: attached to %q", text, got.Options.Cgroup)
			}
			continue
		}
		want, inner, _ := strings.Cut(want, " inner ")
		words := contract.Format(got.Contract)
		if contract.Where(got.Contract) != want || !strings.Contains(got.Contract.Title, title) {
			t.Errorf("%s: %q narrowed to %q, want %q", text, got.Contract.Title, contract.Where(got.Contract), want)
		}
		if (inner != "") != strings.Contains(words, "pid_inside(current.task)) == "+inner) && inner != "" {
			t.Errorf("%s: not narrowed to process %s:\n%s", text, inner, words)
		}
		if !strings.Contains(strings.Join(got.Understood, "\n"), "in ") {
			t.Errorf("%s: the card does not say where: %q", text, got.Understood)
		}
	}
}

// Whatever a recipe's contract shows, narrowed it has the condition at every hook from which something
// comes, or it is refused.
func TestWhereRecipes(t *testing.T) {
	c := host(t)
	n := 0
	for _, r := range c.recipes.Recipes() {
		text := r.Phrasings[0] + " in container web"
		got, err := c.Continue(t.Context(), nil, nil, text)
		if err != nil {
			continue
		}
		n++
		if contract.Where(got.Contract) != "container:web" && got.Options.Cgroup != "container:web" {
			t.Errorf("%s: composed %q for all of the node", text, got.Contract.Title)
		}
		for _, s := range sites(got.Contract) {
			if s.cas == nil && got.Options.Cgroup == "" {
				t.Errorf("%s: shows something of all that is not in the container", text)
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d recipes can be narrowed to a container", n)
	}
}

// TestContainerColumn: containers are shown beside processes where they are asked for or may be several.
func TestContainerColumn(t *testing.T) {
	c := host(t)
	for text, want := range map[string]string{
		"failing opens with container names":             "time pid container",
		"programs executed with their container":         "time pid container",
		"failing opens in pod shop/web-1":                "time pid pid_inside container",
		"failing opens in label:app=shop":                "time pid pid_inside container",
		"failing opens in container web":                 "time pid pid_inside tid",
		"failing opens in cgroup system.slice/a.service": "time pid tid",
		"failing opens by pid 1 in container web":        "time pid tid",
		"failing opens >> with their containers":         "time pid container",
		"count openat by container":                      "cgroup",
		"fsync latency by container":                     "cgroup",
		"tcp connects with their container":              "no",
		"block device latency with container names":      "no",
	} {
		turns := strings.Split(text, " >> ")
		got, err := c.Continue(t.Context(), turns[:len(turns)-1], nil, turns[len(turns)-1])
		if want == "no" {
			if err == nil {
				t.Errorf("%s: composed %q", text, got.Contract.Title)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var names []string
		for _, e := range got.Contract.Events {
			for _, m := range e.Members {
				names = append(names, m.Name)
			}
		}
		for _, x := range got.Contract.Tables {
			for _, m := range x.Key {
				names = append(names, m.Name)
			}
		}
		if have := strings.Join(names, " ") + " "; !strings.HasPrefix(have, want+" ") {
			t.Errorf("%s: columns %s, want %s", text, have, want)
		}
	}
}
