package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/goccy/go-yaml"

	"kgent/executor"
)

const chartDir = "../../deploy/helm/kgent-executor"

// rendered is the chart with these values, file by file, as helm renders it:
// its templates use no functions but these.
func rendered(t *testing.T, values map[string]any) map[string]string {
	t.Helper()
	root := template.New("chart").Option("missingkey=error")
	root.Funcs(template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var b strings.Builder
			err := root.ExecuteTemplate(&b, name, data)
			return b.String(), err
		},
		"toYaml": func(v any) (string, error) {
			b, err := yaml.MarshalWithOptions(v, yaml.IndentSequence(false))
			return strings.TrimSuffix(string(b), "\n"), err
		},
		"nindent": func(n int, s string) string {
			return "\n" + strings.Repeat(" ", n) + strings.ReplaceAll(s, "\n", "\n"+strings.Repeat(" ", n))
		},
		"quote": func(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
	})
	files, err := filepath.Glob(filepath.Join(chartDir, "templates", "*"))
	if err != nil || len(files) < 4 {
		t.Fatalf("templates %v, %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		template.Must(root.New(filepath.Base(f)).Parse(string(b)))
	}
	data := map[string]any{"Values": values, "Release": map[string]any{"Name": "kgent", "Namespace": "kgent"}}
	out := map[string]string{}
	for _, f := range files {
		if strings.HasSuffix(f, ".yaml") {
			var b strings.Builder
			if err := root.ExecuteTemplate(&b, filepath.Base(f), data); err != nil {
				t.Fatal(err)
			}
			out[filepath.Base(f)] = b.String()
		}
	}
	return out
}

func chartFile(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(chartDir, name))
	if err == nil {
		err = yaml.Unmarshal(b, into) // JSON is YAML
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// valid holds a value against a JSON schema, of which it knows what the chart's
// uses; another keyword is an error.
func valid(at string, v any, schema map[string]any) error {
	kind := map[reflect.Kind]string{reflect.String: "string", reflect.Bool: "boolean", reflect.Map: "object", reflect.Slice: "array",
		reflect.Uint64: "integer", reflect.Int64: "integer", reflect.Int: "integer", reflect.Float64: "number"}[reflect.ValueOf(v).Kind()]
	wrong := func(want any) error { return fmt.Errorf("%s: %v, want %v", at, v, want) }
	fields, _ := v.(map[string]any)
	known, _ := schema["properties"].(map[string]any)
	for keyword, want := range schema {
		switch keyword {
		case "$schema":
		case "type":
			if kind != want {
				return wrong(want)
			}
		case "enum":
			if !slices.Contains(want.([]any), v) {
				return wrong(want)
			}
		case "pattern":
			if s, ok := v.(string); !ok || !regexp.MustCompile(want.(string)).MatchString(s) {
				return wrong(want)
			}
		case "minLength":
			if s, ok := v.(string); !ok || fmt.Sprint(len(s)) < fmt.Sprint(want) && s == "" {
				return wrong("text")
			}
		case "minItems":
			if s, ok := v.([]any); !ok || uint64(len(s)) < want.(uint64) {
				return wrong("more")
			}
		case "minimum", "maximum":
			n, ok := v.(uint64)
			if !ok || keyword == "minimum" && n < want.(uint64) || keyword == "maximum" && n > want.(uint64) {
				return wrong(want)
			}
		case "required":
			for _, k := range want.([]any) {
				if _, ok := fields[k.(string)]; !ok {
					return fmt.Errorf("%s: %v is missing", at, k)
				}
			}
		case "additionalProperties":
			for k := range fields {
				if known[k] == nil {
					return fmt.Errorf("%s: %s is unknown", at, k)
				}
			}
		case "properties":
			for k, x := range fields {
				if s, ok := known[k].(map[string]any); ok {
					if err := valid(at+"."+k, x, s); err != nil {
						return err
					}
				}
			}
		case "items":
			for i, x := range v.([]any) {
				if err := valid(fmt.Sprintf("%s[%d]", at, i), x, want.(map[string]any)); err != nil {
					return err
				}
			}
		default:
			return fmt.Errorf("the schema's %s: %q is not understood here", at, keyword)
		}
	}
	return nil
}

// What the chart makes, as far as it makes it: a key that is not here, or not
// where Kubernetes has it, is an error.
type (
	object struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   metadata
		Data       map[string]string
		Automount  *bool `yaml:"automountServiceAccountToken"`
		Spec       struct {
			Selector struct {
				MatchLabels map[string]string `yaml:"matchLabels"`
			} `yaml:"selector"`
			UpdateStrategy struct {
				Type          string
				RollingUpdate struct {
					MaxUnavailable int `yaml:"maxUnavailable"`
				} `yaml:"rollingUpdate"`
			} `yaml:"updateStrategy"`
			Template struct {
				Metadata metadata
				Spec     pod
			}
		}
	}
	metadata struct {
		Name, Namespace     string
		Labels, Annotations map[string]string
	}
	pod struct {
		ServiceAccountName string              `yaml:"serviceAccountName"`
		Automount          *bool               `yaml:"automountServiceAccountToken"`
		ServiceLinks       *bool               `yaml:"enableServiceLinks"`
		PullSecrets        []map[string]string `yaml:"imagePullSecrets"`
		PriorityClass      string              `yaml:"priorityClassName"`
		HostPID            bool                `yaml:"hostPID"`
		HostNetwork        bool                `yaml:"hostNetwork"`
		DNSPolicy          string              `yaml:"dnsPolicy"`
		Grace              int                 `yaml:"terminationGracePeriodSeconds"`
		NodeSelector       map[string]string   `yaml:"nodeSelector"`
		Tolerations        []map[string]string
		Containers         []container
		Volumes            []struct {
			Name      string
			HostPath  *struct{ Path, Type string } `yaml:"hostPath"`
			ConfigMap *struct{ Name string }       `yaml:"configMap"`
			EmptyDir  *struct{}                    `yaml:"emptyDir"`
		}
	}
	container struct {
		Name, Image string
		PullPolicy  string `yaml:"imagePullPolicy"`
		Args        []string
		Env         []struct {
			Name, Value string
			From        struct {
				Field struct {
					Path string `yaml:"fieldPath"`
				} `yaml:"fieldRef"`
			} `yaml:"valueFrom"`
		}
		Ports []struct {
			Name string
			Port int `yaml:"containerPort"`
		}
		Liveness  check `yaml:"livenessProbe"`
		Readiness check `yaml:"readinessProbe"`
		Security  struct {
			Privileged   *bool
			Escalation   *bool                 `yaml:"allowPrivilegeEscalation"`
			ReadOnly     bool                  `yaml:"readOnlyRootFilesystem"`
			User         *int                  `yaml:"runAsUser"`
			Seccomp      struct{ Type string } `yaml:"seccompProfile"`
			Capabilities struct{ Drop, Add []string }
		} `yaml:"securityContext"`
		Resources struct{ Requests, Limits map[string]string }
		Mounts    []struct {
			Name     string
			Path     string `yaml:"mountPath"`
			ReadOnly bool   `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	check struct {
		HTTP    struct{ Path, Port string } `yaml:"httpGet"`
		Delay   int                         `yaml:"initialDelaySeconds"`
		Period  int                         `yaml:"periodSeconds"`
		Timeout int                         `yaml:"timeoutSeconds"`
	}
)

func (o *object) read(t *testing.T, text string) {
	t.Helper()
	if err := yaml.UnmarshalWithOptions([]byte(text), o, yaml.Strict()); err != nil {
		t.Fatalf("%s\n%s", yaml.FormatError(err, false, true), text)
	}
}

// The chart renders to what is committed for those without helm, its values fit
// their schema, and wrong ones do not.
func TestDeployHelm(t *testing.T) {
	var values, schema, meta map[string]any
	chartFile(t, "values.yaml", &values)
	chartFile(t, "values.schema.json", &schema)
	chartFile(t, "Chart.yaml", &meta)
	if meta["apiVersion"] != "v2" || meta["name"] != filepath.Base(chartDir) || meta["version"] == nil {
		t.Errorf("Chart.yaml: %v", meta)
	}
	if err := valid("values", values, schema); err != nil {
		t.Error(err)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if schema["properties"].(map[string]any)[name] == nil {
			t.Errorf("the schema does not know %s", name)
		}
	}
	for change, x := range map[string]any{
		"capabilities": []any{"BPF", "PERFMON", "SYS_MODULE"},
		"redis":        map[string]any{"scheme": "redis", "address": "r:6379"},
		"metricsPort":  uint64(70000),
		"hostState":    "var/lib/kgent",
		"privileged":   true,
	} {
		wrong := maps.Clone(values)
		wrong[change] = x
		if err := valid("values", wrong, schema); err == nil {
			t.Errorf("the schema takes %s: %v", change, x)
		}
	}
	files := rendered(t, values)
	var all []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		all = append(all, files[name])
	}
	got := "# The chart in deploy/helm with its default values, for kubectl apply -f in a\n# namespace kgent. KGENT_UPDATE=1 go test -run TestDeployHelm ./cmd/kgent writes it.\n---\n" + strings.Join(all, "---\n")
	const committed = "../../deploy/kubernetes/kgent-executor.yaml"
	if os.Getenv("KGENT_UPDATE") != "" {
		if err := os.WriteFile(committed, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(committed); err != nil || string(want) != got {
		t.Errorf("%s is not what the chart renders to (%v); KGENT_UPDATE=1 writes it", committed, err)
	}
	values["imagePullSecrets"], values["priorityClassName"], values["podAnnotations"] = []any{map[string]any{"name": "x"}}, "high", map[string]any{"a": "b"}
	values["hostNetwork"] = false
	var d object
	d.read(t, rendered(t, values)["daemonset.yaml"])
	if p := d.Spec.Template.Spec; p.PriorityClass != "high" || len(p.PullSecrets) != 1 || d.Spec.Template.Metadata.Annotations["a"] != "b" || p.HostNetwork || p.DNSPolicy != "ClusterFirst" {
		t.Errorf("with other values: %+v", d.Spec.Template)
	}
}

// What is rendered hangs together, gives no more than is said, and the executor
// understands its arguments.
func TestDeployDaemonSet(t *testing.T) {
	var values map[string]any
	chartFile(t, "values.yaml", &values)
	files := rendered(t, values)
	var account, config, d object
	account.read(t, files["serviceaccount.yaml"])
	config.read(t, files["configmap.yaml"])
	d.read(t, files["daemonset.yaml"])
	if account.Kind != "ServiceAccount" || account.APIVersion != "v1" || account.Automount == nil || *account.Automount {
		t.Errorf("service account %+v", account)
	}
	if p, err := executor.ParsePolicy([]byte(config.Data["node.yaml"])); err != nil || p.CPUPerRun != 0.01 {
		t.Errorf("the node's policy: %+v, %v", p, err)
	}
	pod := d.Spec.Template.Spec
	if d.Kind != "DaemonSet" || d.APIVersion != "apps/v1" || !reflect.DeepEqual(d.Spec.Selector.MatchLabels, d.Spec.Template.Metadata.Labels) ||
		pod.ServiceAccountName != account.Metadata.Name || len(pod.Containers) != 1 || !pod.HostPID || pod.Grace < 30 {
		t.Fatalf("daemon set %+v", d)
	}
	c := pod.Containers[0]
	s := c.Security
	if s.Privileged == nil || *s.Privileged || s.Escalation == nil || *s.Escalation || !s.ReadOnly || s.Seccomp.Type != "RuntimeDefault" || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("privileges %+v", s)
	}
	var unit []string
	for _, name := range capabilitiesOfUnit(t) {
		unit = append(unit, strings.TrimPrefix(name, "CAP_"))
	}
	if !slices.Equal(unit, s.Capabilities.Add) {
		t.Errorf("capabilities %v, of the systemd unit %v", s.Capabilities.Add, unit)
	}
	mounts := map[string]bool{}
	for _, m := range c.Mounts {
		mounts[m.Name] = true
	}
	for _, v := range pod.Volumes {
		if !mounts[v.Name] {
			t.Errorf("volume %s is mounted nowhere", v.Name)
		}
		delete(mounts, v.Name)
		if v.ConfigMap != nil && v.ConfigMap.Name != config.Metadata.Name {
			t.Errorf("config map %s, there is %s", v.ConfigMap.Name, config.Metadata.Name)
		}
	}
	// An emptyDir has mode 0777, where no socket is made.
	for _, m := range c.Mounts {
		if slices.Contains(c.Args, "--socket="+path.Join(m.Path, "control.sock")) {
			t.Errorf("the socket is right in %s", m.Path)
		}
	}
	if len(mounts) > 0 {
		t.Errorf("mounts without a volume: %v", mounts)
	}
	if c.Liveness.HTTP.Path != "/healthz" || c.Readiness.HTTP.Path != "/readyz" || c.Liveness.HTTP.Port != "metrics" || len(c.Ports) != 1 || c.Ports[0].Name != "metrics" {
		t.Errorf("probes %+v %+v", c.Liveness, c.Readiness)
	}
	understood(t, c.Args)
}

// understood parses the arguments of an executor.
func understood(t *testing.T, args []string) {
	t.Helper()
	if len(args) == 0 || args[0] != "executor" {
		t.Fatalf("arguments %q", args)
	}
	cmd := executorCommand(system{getenv: func(string) string { return "" }})
	if err := cmd.ParseFlags(args[1:]); err != nil {
		t.Errorf("%q: %v", args, err)
	}
	if rest := cmd.Flags().Args(); len(rest) > 0 {
		t.Errorf("%q: %q is no flag", args, rest)
	}
}

const unitFile = "../../deploy/systemd/kgent-executor.service"

// unit returns the values of a key of the systemd unit.
func unit(t *testing.T, key string) []string {
	t.Helper()
	b, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			out = append(out, v)
		}
	}
	return out
}

func capabilitiesOfUnit(t *testing.T) []string {
	t.Helper()
	set := unit(t, "CapabilityBoundingSet")
	if len(set) != 1 {
		t.Fatalf("CapabilityBoundingSet %q", set)
	}
	return strings.Fields(set[0])
}

// The unit passes systemd's own check, explains each capability, and the
// executor understands its arguments.
func TestDeploySystemd(t *testing.T) {
	b, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range capabilitiesOfUnit(t) {
		if !regexp.MustCompile(`(?m)^#   ` + c + ` +\S`).Match(b) {
			t.Errorf("%s is not explained", c)
		}
	}
	start := strings.Fields(unit(t, "ExecStart")[0])
	understood(t, start[1:])
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	// Under another name of the program, which is not installed here.
	dir := t.TempDir()
	bin := filepath.Join(dir, "kgent")
	if err := os.WriteFile(bin, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kgent-executor.service")
	if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte(start[0]), []byte(bin)), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, "verify", path).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "kgent-executor") {
			t.Errorf("systemd-analyze: %s", line)
		}
	}
	if err != nil && strings.Contains(string(out), "kgent-executor") {
		t.Error(err)
	}
}

// The example of a node's policy can be used.
func TestDeployNodePolicy(t *testing.T) {
	p, err := readNodePolicy("../../deploy/node-policy.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := executor.DefaultPolicy()
	if p.CPUPerRun != d.CPUPerRun || p.CPUTotal != d.CPUTotal || p.MaxRuns != d.MaxRuns || p.MaxPrograms != d.MaxPrograms || p.MaxMaps != d.MaxMaps || p.MaxMapBytes != d.MaxMapBytes ||
		p.MaxEvents != d.MaxEvents || p.MaxLines != d.MaxLines || p.MaxBytes != d.MaxBytes || p.CrashFirst != d.CrashFirst || p.CrashMost != d.CrashMost || p.AllowAct {
		t.Errorf("its numbers are not the defaults: %+v", p)
	}
	if b, err := json.Marshal(p); err != nil || !strings.Contains(string(b), "raw_syscalls") {
		t.Errorf("%s, %v", b, err)
	}
}
