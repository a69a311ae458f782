// Package container knows the containers and pods of this node: which control
// group (cgroup v2) each of them is, and what people call it.
//
// Nothing is asked of any service. A container's runtime and id are in the name
// of its cgroup; the names of pods and containers are in files that kubelet and
// the runtimes keep on the node: see [Node.List]. So resolving works while the
// control plane is away, and needs no right but to read these files.
//
// People name what they mean in one of these forms, of which [Node.Find] makes
// cgroups:
//
//	container:NAME      the name of a container, its id or the beginning of it
//	pod:NAME            a pod; pod:NAMESPACE/NAME where there are several
//	label:KEY=VALUE     everything that has the label, where the runtime keeps labels on the node
//	/PATH               the cgroup of that path, and what it has inside
package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Container is one container of the node.
type Container struct {
	// Cgroup is the path of its control group, below the mount of cgroup v2.
	Cgroup string
	// Runtime made it: docker, containerd, cri-o, podman; empty when the cgroup
	// does not tell.
	Runtime string
	// ID is the runtime's, 64 hexadecimal digits.
	ID string
	// PodUID is Kubernetes's id of its pod; empty without one.
	PodUID string
	// Namespace, Pod and Name are what people call it, empty where no file says.
	Namespace, Pod, Name string
	// Labels are those that its runtime keeps on the node; nil when it keeps none.
	Labels map[string]string
}

// String is how the container is called in output: shop/web-1/nginx, or its name,
// or the first twelve digits of its id.
func (c Container) String() string {
	name := c.Name
	if name == "" {
		name = c.ID[:12]
	}
	switch {
	case c.Pod != "":
		return c.Namespace + "/" + c.Pod + "/" + name
	case c.PodUID != "":
		return "pod " + c.PodUID + "/" + name
	}
	return name
}

// PodCgroup is the control group of the container's pod; its own without one.
func (c Container) PodCgroup() string {
	if c.PodUID == "" {
		return c.Cgroup
	}
	return path.Dir(c.Cgroup)
}

// The last element of a container's cgroup: PREFIX-ID.scope where systemd makes
// the cgroups, and ID alone where the runtime does.
var (
	scoped = regexp.MustCompile(`^(docker|cri-containerd|crio|libpod)-([0-9a-f]{64})\.scope$`)
	plain  = regexp.MustCompile(`^(crio-|libpod-)?([0-9a-f]{64})$`)
	// kubepods-burstable-pod12_34.slice, and pod12-34.
	podSlice = regexp.MustCompile(`^kubepods(?:-[a-z]+)?-pod([0-9a-f_]+)\.slice$`)
	podPlain = regexp.MustCompile(`^pod([0-9a-f-]+)$`)
)

// userSlice is where users have control groups of their own.
const userSlice = "/user.slice/"

// ofUser reports whether a container is in the part of the hierarchy that users
// fill, without privileges and with whatever names they like: it may be one of
// theirs. What the node's files say of an id is believed of no such container,
// or anybody could pass for one of the node's.
func (c Container) ofUser() bool { return strings.HasPrefix(c.Cgroup, userSlice) }

var runtimes = map[string]string{
	"docker":         "docker",
	"cri-containerd": "containerd",
	"crio":           "cri-o",
	"libpod":         "podman",
}

// Parse reads the path of a cgroup. ok is false when it is not a container's:
// that of a cgroup inside of one, or of a helper of the runtime (crio-conmon), is
// not either.
func Parse(cgroup string) (c Container, ok bool) {
	cgroup = path.Clean("/" + cgroup)
	dir, base := path.Split(cgroup)
	c = Container{Cgroup: cgroup}
	if m := scoped.FindStringSubmatch(base); m != nil {
		c.Runtime, c.ID = runtimes[m[1]], m[2]
	} else if m := plain.FindStringSubmatch(base); m != nil {
		c.Runtime, c.ID = runtimes[strings.TrimSuffix(m[1], "-")], m[2]
	} else {
		return Container{}, false
	}
	if c.ofUser() {
		return c, true
	}
	parent := path.Base(dir)
	if m := podSlice.FindStringSubmatch(parent); m != nil {
		c.PodUID = strings.ReplaceAll(m[1], "_", "-")
	} else if m := podPlain.FindStringSubmatch(parent); m != nil {
		c.PodUID = m[1]
	}
	if c.Runtime == "" && parent == "docker" {
		c.Runtime = "docker"
	}
	return c, true
}

// Of returns the container that a cgroup belongs to: its own, or the outermost
// one around it. What is inside of a container can make cgroups of any name there.
func Of(cgroup string) (c Container, ok bool) {
	cgroup = path.Clean("/" + cgroup)
	for i := 1; i < len(cgroup); i++ {
		if i+1 == len(cgroup) || cgroup[i] == '/' {
			if c, ok := Parse(strings.TrimSuffix(cgroup[:i+1], "/")); ok {
				return c, true
			}
		}
	}
	return Container{}, false
}

// OfProcess reads the cgroup v2 of a process from the text of /proc/PID/cgroup;
// "" when it has none.
func OfProcess(text string) string {
	for line := range strings.Lines(text) {
		if at, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return at
		}
	}
	return ""
}

// Node is the node whose containers are looked for. The zero value has none.
type Node struct {
	// Cgroups is where cgroup v2 is mounted.
	Cgroups string
	// Root is the directory that stands for the node's "/"; empty is "/".
	Root string
}

// maxFile bounds what is read of a runtime's files, maxContainers how many
// containers there can be.
const (
	maxFile       = 4 << 20
	maxContainers = 10_000
)

// List returns the containers that have a cgroup now, ordered by it. Names come
// from what is there of
//
//	/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log    kubelet
//	/run/containerd/io.containerd.runtime.v2.task/*/ID/config.json
//	/run/containers/storage/overlay-containers/ID/userdata/config.json    cri-o, podman
//	/var/lib/docker/containers/ID/config.v2.json
//
// A file that cannot be read leaves a container without a name: that is no error.
// Those that users run without privileges have none.
func (n Node) List() ([]Container, error) {
	if n.Cgroups == "" {
		return nil, errors.New("listing the containers: no cgroup v2 hierarchy is mounted on this node")
	}
	var all []Container
	err := filepath.WalkDir(n.Cgroups, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err != nil || !d.IsDir() {
			return err
		}
		below, err := filepath.Rel(n.Cgroups, name)
		if err != nil {
			return err
		}
		if c, ok := Parse(below); ok {
			if len(all) == maxContainers {
				return fmt.Errorf("there are more than %d", maxContainers)
			}
			all = append(all, c)
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the containers: %w", err)
	}
	logs := n.kubeletLogs()
	for i := range all {
		n.name(&all[i], logs)
	}
	return all, nil
}

// Name adds to a container what people call it.
func (n Node) Name(c Container) Container {
	n.name(&c, n.kubeletLogs())
	return c
}

// kubeletName is what the name of a log says of the container that writes it.
type kubeletName struct{ pod, namespace, container string }

// kubeletLogs reads the names of kubelet's links to logs, by container id. Pods
// and namespaces have no underscore, and the id is the last.
func (n Node) kubeletLogs() map[string]kubeletName {
	links, err := os.ReadDir(filepath.Join("/", n.Root, "var/log/containers"))
	if err != nil {
		return nil
	}
	out := map[string]kubeletName{}
	for _, l := range links {
		name, ok := strings.CutSuffix(l.Name(), ".log")
		parts := strings.SplitN(name, "_", 3)
		if !ok || len(parts) != 3 {
			continue
		}
		if i := strings.LastIndexByte(parts[2], '-'); i > 0 {
			out[parts[2][i+1:]] = kubeletName{parts[0], parts[1], parts[2][:i]}
		}
	}
	return out
}

func (n Node) name(c *Container, logs map[string]kubeletName) {
	if c.ofUser() {
		return
	}
	if k, ok := logs[c.ID]; ok {
		c.Pod, c.Namespace, c.Name = k.pod, k.namespace, k.container
	}
	n.nameFromBundle(c)
	n.nameFromDocker(c)
}

// nameFromBundle reads the annotations of the container's OCI bundle.
func (n Node) nameFromBundle(c *Container) {
	bundles, _ := filepath.Glob(filepath.Join("/", n.Root, "run/containerd/io.containerd.runtime.v2.task/*", c.ID, "config.json")) // the pattern is right
	bundles = append(bundles, filepath.Join("/", n.Root, "run/containers/storage/overlay-containers", c.ID, "userdata/config.json"))
	for _, name := range bundles {
		var bundle struct {
			Annotations map[string]string `json:"annotations"`
		}
		if !readJSON(name, &bundle) {
			continue
		}
		a := bundle.Annotations
		set(&c.Pod, a["io.kubernetes.cri.sandbox-name"], a["io.kubernetes.pod.name"])
		set(&c.Namespace, a["io.kubernetes.cri.sandbox-namespace"], a["io.kubernetes.pod.namespace"])
		set(&c.Name, a["io.kubernetes.cri.container-name"], a["io.kubernetes.container.name"], a["io.kubernetes.cri-o.ContainerName"], a["io.podman.annotations.container.name"], a["nerdctl/name"])
		if a["io.kubernetes.cri.container-type"] == "sandbox" || a["io.kubernetes.cri-o.ContainerType"] == "sandbox" {
			set(&c.Name, "pause")
		}
		if text, ok := a["io.kubernetes.cri-o.Labels"]; ok {
			var labels map[string]string
			if json.Unmarshal([]byte(text), &labels) == nil {
				c.Labels = labels
			}
		}
	}
}

func (n Node) nameFromDocker(c *Container) {
	var config struct {
		Name   string
		Config struct{ Labels map[string]string }
	}
	if !readJSON(filepath.Join("/", n.Root, "var/lib/docker/containers", c.ID, "config.v2.json"), &config) {
		return
	}
	set(&c.Name, strings.TrimPrefix(config.Name, "/"))
	c.Labels = config.Config.Labels
}

// set gives a name that is not known yet the first value that there is.
func set(name *string, values ...string) {
	for _, v := range values {
		if *name == "" {
			*name = v
		}
	}
}

// readJSON reads a file of a runtime. It says nothing of one that is not there,
// too long or written meanwhile: it only has names.
func readJSON(name string, into any) bool {
	st, err := os.Stat(name)
	if err != nil || !st.Mode().IsRegular() || st.Size() > maxFile {
		return false
	}
	b, err := os.ReadFile(name)
	return err == nil && json.Unmarshal(b, into) == nil
}

// Forms in which people name containers.
const (
	formContainer = "container:"
	formPod       = "pod:"
	formLabel     = "label:"
)

// Named reports whether a target is in one of the forms of [Node.Find], and not
// the path of a cgroup.
func Named(target string) bool {
	for _, form := range []string{formContainer, formPod, formLabel} {
		if strings.HasPrefix(target, form) {
			return true
		}
	}
	return false
}

// Found is a cgroup that a target stands for.
type Found struct {
	Cgroup string // its path below the mount
	What   string // what it is, for people: pod shop/web-1
}

// Find returns the cgroups that a target stands for now, in order. What it stands
// for nothing, or could mean several things, is an error that says what there is.
func (n Node) Find(target string) ([]Found, error) {
	if strings.HasPrefix(target, "/") {
		return []Found{{Cgroup: path.Clean(target)}}, nil
	}
	found, err := n.find(target)
	if err == nil {
		return found, nil
	}
	if at := n.onlyV1(target); at != "" {
		return nil, fmt.Errorf("%s is in the cgroup v1 hierarchy %s alone, and the kernel tells programs which cgroup v2 a task is in: let the runtime use cgroup v2 (boot with systemd.unified_cgroup_hierarchy=1)", strings.Replace(target, ":", " ", 1), at)
	}
	return nil, err
}

// Whole reports whether all of the node's control groups can be seen, and not only those of one
// container, whose cgroup namespace shows it as the root. Of the real root the inode is 1.
func (n Node) Whole() (bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(n.Cgroups, &st); err != nil {
		return false, fmt.Errorf("reading the root of the cgroups: %w", err)
	}
	return st.Ino == 1, nil
}

// besideV2 are the hierarchies of cgroup v1, where systemd mounts both.
func (n Node) besideV2() (out []Node) {
	if filepath.Base(n.Cgroups) != "unified" {
		return nil
	}
	for _, name := range []string{"systemd", "pids", "memory"} {
		v1 := n
		v1.Cgroups = filepath.Join(filepath.Dir(n.Cgroups), name)
		out = append(out, v1)
	}
	return out
}

// InV1 is a hierarchy of cgroup v1 that has containers; "" if none has.
func (n Node) InV1() string {
	for _, v1 := range n.besideV2() {
		if all, err := v1.List(); err == nil && len(all) > 0 {
			return v1.Cgroups
		}
	}
	return ""
}

// onlyV1 is the hierarchy of cgroup v1 beside that of v2 which has what a target stands for;
// "" if none has.
func (n Node) onlyV1(target string) string {
	for _, v1 := range n.besideV2() {
		if found, err := v1.find(target); err == nil && len(found) > 0 {
			return v1.Cgroups
		}
	}
	return ""
}

func (n Node) find(target string) ([]Found, error) {
	all, err := n.List()
	if err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(target, formContainer):
		return findContainer(all, strings.TrimPrefix(target, formContainer))
	case strings.HasPrefix(target, formPod):
		return findPod(all, strings.TrimPrefix(target, formPod))
	case strings.HasPrefix(target, formLabel):
		return findLabel(all, strings.TrimPrefix(target, formLabel))
	}
	return nil, fmt.Errorf("%q names no container: write container:NAME, pod:NAME or label:KEY=VALUE", target)
}

// minID is how many digits of an id are enough to be taken for one.
const minID = 6

func findContainer(all []Container, want string) ([]Found, error) {
	var out []Found
	for _, c := range all {
		id := len(want) >= minID && strings.HasPrefix(c.ID, want)
		if c.Name == want && want != "" || c.String() == want || id {
			out = append(out, Found{c.Cgroup, "container " + c.String()})
		}
	}
	if len(out) > 1 {
		return nil, fmt.Errorf("several containers of this node are called %q (%s): name one by its id or as NAMESPACE/POD/NAME, or its pod", want, some(out))
	}
	if len(out) == 0 {
		var names []Found
		for _, c := range all {
			names = append(names, Found{What: c.String()})
		}
		return nil, fmt.Errorf("this node has no container %q; it has %s", want, some(names))
	}
	return out, nil
}

func findPod(all []Container, want string) ([]Found, error) {
	var out, pods []Found
	for _, c := range all {
		if c.PodUID == "" {
			continue
		}
		name := c.Namespace + "/" + c.Pod
		if c.Pod == "" {
			name = c.PodUID
		}
		f := Found{c.PodCgroup(), "pod " + name}
		if !slices.Contains(pods, f) {
			pods = append(pods, f)
		}
		if (c.Pod == want && want != "" || name == want || c.PodUID == want) && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	if len(out) > 1 {
		return nil, fmt.Errorf("several pods of this node are called %q (%s): say which as pod:NAMESPACE/NAME", want, some(out))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("this node has no pod %q; it has %s", want, some(pods))
	}
	return out, nil
}

func findLabel(all []Container, want string) ([]Found, error) {
	key, value, ok := strings.Cut(want, "=")
	if !ok || key == "" {
		return nil, fmt.Errorf("%q is no label: write label:KEY=VALUE", want)
	}
	var out []Found
	known := false
	for _, c := range all {
		known = known || c.Labels != nil
		if got, ok := c.Labels[key]; ok && got == value {
			out = append(out, Found{c.Cgroup, "container " + c.String()})
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case !known:
		return nil, errors.New("no container runtime of this node keeps labels where they can be read (docker and cri-o do): name the pod or the container")
	}
	return nil, fmt.Errorf("no container of this node has the label %s=%s", key, value)
}

// some lists the first few of what there is.
func some(all []Found) string {
	const most = 8
	var names []string
	for _, f := range all {
		names = append(names, f.What)
	}
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > most:
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", n-most)
	}
	return strings.Join(names, ", ")
}
