package container

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var (
	idA = strings.Repeat("a1", 32)
	idB = strings.Repeat("b2", 32)
	idC = strings.Repeat("c3", 32)
	idD = strings.Repeat("d4", 32)
	idE = strings.Repeat("e5", 32)
)

func TestParse(t *testing.T) {
	const uid = "0f6a7a5e-1111-2222-3333-444455556666"
	slice := "kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
	for _, test := range []struct {
		path    string
		runtime string // "-": no container
		pod     string
		podPath string
	}{
		{"/docker/" + idA, "docker", "", "/docker/" + idA},
		{"system.slice/docker-" + idA + ".scope", "docker", "", "/system.slice/docker-" + idA + ".scope"},
		{"/kubepods/burstable/pod" + uid + "/" + idA, "", uid, "/kubepods/burstable/pod" + uid},
		{"/kubepods/pod" + uid + "/" + idA, "", uid, "/kubepods/pod" + uid},
		{"/kubepods.slice/kubepods-burstable.slice/" + slice + "/cri-containerd-" + idA + ".scope", "containerd", uid, "/kubepods.slice/kubepods-burstable.slice/" + slice},
		{"/kubepods.slice/kubepods-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/crio-" + idA + ".scope", "cri-o", uid, "/kubepods.slice/kubepods-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"},
		{"/kubepods/besteffort/pod" + uid + "/crio-" + idA, "cri-o", uid, "/kubepods/besteffort/pod" + uid},
		{"/machine.slice/libpod-" + idA + ".scope", "podman", "", "/machine.slice/libpod-" + idA + ".scope"},
		{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA + ".scope", "podman", "", ""},
		{"/kubepods.slice/" + slice + "/crio-conmon-" + idA + ".scope", "-", "", ""},
		{"/machine.slice/libpod-conmon-" + idA + ".scope", "-", "", ""},
		{"/system.slice/nginx.service", "-", "", ""},
		{"/docker/" + idA[:63], "-", "", ""},
		{"/docker/" + idA + "/init", "-", "", ""},
		{"/", "-", "", ""},
		{"", "-", "", ""},
	} {
		c, ok := Parse(test.path)
		if ok != (test.runtime != "-") {
			t.Errorf("%s: %v", test.path, ok)
			continue
		}
		if ok && (c.ID != idA || c.Runtime != test.runtime || c.PodUID != test.pod || test.podPath != "" && c.PodCgroup() != test.podPath) {
			t.Errorf("%s: %+v, pod at %s", test.path, c, c.PodCgroup())
		}
	}
	if c, ok := Of("/docker/" + idA + "/init/x"); !ok || c.ID != idA {
		t.Errorf("inside of a container: %+v, %v", c, ok)
	}
	if c, ok := Of("/docker/" + idA + "/docker-" + idB + ".scope"); !ok || c.ID != idA {
		t.Errorf("a container that claims to be another: %+v, %v", c, ok)
	}
	if c, ok := Of("docker/" + idA); !ok || c.ID != idA {
		t.Errorf("a container: %+v, %v", c, ok)
	}
	if _, ok := Of("/system.slice/ssh.service"); ok {
		t.Error("a service is a container")
	}
}

func TestOfProcess(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/ssh.service\n":          "/system.slice/ssh.service",
		"12:cpu:/x\n0::/docker/a\n":               "/docker/a",
		"12:cpu:/x\n1:name=systemd:/init.scope\n": "",
		"": "",
	} {
		if got := OfProcess(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// node makes a node with five containers: one of docker, two of a pod of
// containerd, one of cri-o with the same pod's name elsewhere, and one of which
// nothing is known. A user has made control groups that are called as two of them.
func node(t *testing.T) Node {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{
		"system.slice/ssh.service",
		"system.slice/docker-" + idA + ".scope/inside",
		"kubepods.slice/kubepods-pod11_22.slice/cri-containerd-" + idB + ".scope",
		"kubepods.slice/kubepods-pod11_22.slice/cri-containerd-" + idC + ".scope",
		"kubepods.slice/kubepods-pod33_44.slice/crio-" + idD + ".scope",
		"docker/" + idE,
		// What a user without privileges can make.
		"user.slice/user-1000.slice/user@1000.service/docker-" + idA + ".scope",
		"user.slice/user-1000.slice/user@1000.service/kubepods-pod11_22.slice/cri-containerd-" + idB + ".scope",
	} {
		if err := os.MkdirAll(filepath.Join(root, "cgroups", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("var/lib/docker/containers/"+idA+"/config.v2.json", `{"Name":"/web","Config":{"Labels":{"app":"shop","tier":""}}}`)
	write("var/lib/docker/containers/"+idE+"/config.v2.json", `{"Name":`)
	write("var/log/containers/web-1_shop_nginx-"+idB+".log", "")
	write("var/log/containers/nonsense.log", "")
	write("run/containerd/io.containerd.runtime.v2.task/k8s.io/"+idC+"/config.json",
		`{"annotations":{"io.kubernetes.cri.sandbox-name":"web-1","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.container-type":"sandbox"}}`)
	write("run/containers/storage/overlay-containers/"+idD+"/userdata/config.json",
		`{"annotations":{"io.kubernetes.pod.name":"web-1","io.kubernetes.pod.namespace":"test","io.kubernetes.container.name":"nginx","io.kubernetes.cri-o.Labels":"{\"app\":\"shop\"}"}}`)
	return Node{Cgroups: filepath.Join(root, "cgroups"), Root: root}
}

func TestFind(t *testing.T) {
	n := node(t)
	podB := "/kubepods.slice/kubepods-pod11_22.slice"
	for _, test := range []struct{ target, want string }{
		{"container:web", "/system.slice/docker-" + idA + ".scope container web"},
		{"container:" + idE[:6], "/docker/" + idE + " container " + idE[:12]},
		{"container:" + idE, "/docker/" + idE + " container " + idE[:12]},
		{"container:shop/web-1/nginx", podB + "/cri-containerd-" + idB + ".scope container shop/web-1/nginx"},
		{"container:nginx", `error: several containers of this node are called "nginx" (container shop/web-1/nginx, container test/web-1/nginx)`},
		{"container:" + idE[:5], "error: this node has no container"},
		{"container:", "error: this node has no container"},
		{"container:" + idB, "error: several containers"},
		{"container:db", `it has ` + idE[:12] + `, shop/web-1/nginx, shop/web-1/pause, test/web-1/nginx, web`},
		{"pod:shop/web-1", podB + " pod shop/web-1"},
		{"pod:11-22", podB + " pod shop/web-1"},
		{"pod:web-1", "error: several pods of this node are called \"web-1\" (pod shop/web-1, pod test/web-1): say which as pod:NAMESPACE/NAME"},
		{"pod:db", "error: this node has no pod \"db\"; it has pod shop/web-1, pod test/web-1"},
		{"label:app=shop", "/kubepods.slice/kubepods-pod33_44.slice/crio-" + idD + ".scope container test/web-1/nginx, /system.slice/docker-" + idA + ".scope container web"},
		{"label:tier=", "/system.slice/docker-" + idA + ".scope container web"},
		{"label:app=bank", "error: no container of this node has the label app=bank"},
		{"label:none=", "error: no container of this node has the label"},
		{"label:app", "error: \"app\" is no label"},
		{"/system.slice", "/system.slice "},
	} {
		found, err := n.Find(test.target)
		var parts []string
		for _, f := range found {
			parts = append(parts, f.Cgroup+" "+f.What)
		}
		got := strings.Join(parts, ", ")
		if err != nil {
			got = "error: " + err.Error()
		}
		if err == nil && got != test.want || err != nil && !strings.Contains(got, test.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", test.target, got, test.want)
		}
		if Named(test.target) != !strings.HasPrefix(test.target, "/") {
			t.Errorf("%s: Named is wrong", test.target)
		}
	}
	if c, ok := Of("/user.slice/user-1000.slice/user@1000.service/docker-" + idA + ".scope/x"); !ok || n.Name(c).Name != "" {
		t.Errorf("a user's container passes for one of the node's: %+v, %v", n.Name(c), ok)
	}
	if _, err := (Node{}).Find("pod:x"); err == nil || !strings.Contains(err.Error(), "no cgroup v2 hierarchy") {
		t.Error(err)
	}
	if _, err := (Node{Cgroups: t.TempDir()}).Find("label:a=b"); err == nil || !strings.Contains(err.Error(), "keeps labels") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/docker/" + idA)
	f.Add("kubepods-pod11_22.slice/crio-" + idA + ".scope")
	f.Fuzz(func(t *testing.T, s string) {
		if c, ok := Parse(s); ok && (len(c.ID) != 64 || c.String() == "" || c.PodCgroup() == "") {
			t.Errorf("%q: %+v", s, c)
		}
	})
}

// A node with both hierarchies, whose containers are in cgroup v1 alone, says so.
func TestOnlyV1(t *testing.T) {
	n := node(t)
	v1 := n
	at := filepath.Join(filepath.Dir(n.Cgroups), "memory")
	if err := os.Rename(n.Cgroups, at); err != nil {
		t.Fatal(err)
	}
	v1.Cgroups = filepath.Join(filepath.Dir(n.Cgroups), "unified")
	if err := os.MkdirAll(filepath.Join(v1.Cgroups, "system.slice"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := v1.InV1(); got != at {
		t.Errorf("containers are in %q, want %q", got, at)
	}
	if _, err := v1.Find("container:web"); err == nil || !strings.Contains(err.Error(), "container web is in the cgroup v1 hierarchy "+at+" alone") {
		t.Error(err)
	}
	if _, err := v1.Find("container:nothing"); err == nil || !strings.Contains(err.Error(), "this node has no container") {
		t.Error(err)
	}
	if whole, err := v1.Whole(); err != nil || whole {
		t.Errorf("a directory is the root of all control groups: %v, %v", whole, err)
	}
}
