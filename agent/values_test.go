package agent

import (
	"maps"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
)

// A contract that is kept has the values of its program; held against the program, they are set in its manifest again.
func TestValuesOfContracts(t *testing.T) {
	o := programtest.Object(t, `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";
const volatile char name[16] = "";
const volatile k_uid owner = -1;
const volatile k_ns threshold = 10000000;
const volatile k_ip address = {};
const volatile k_errno errno = 0;
const volatile k_port port = 80;
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 12); __type(value, struct { k_ns t; k_port p; }); } e SEC(".maps");
SEC("tp_btf/sched_switch")
int BPF_PROG(f, bool preempt)
{
	return name[0] + owner + threshold + *(const volatile __u8 *)&address + errno + port == 9;
}
`)
	const text = `contract "x"

param name: char[16]
param owner: k_uid = -1
param threshold: k_ns = 10000000
param address: k_ip
param errno: k_errno
param port: k_port = 80

event e { t: k_time }

hook tp_btf/sched_switch()
  case a: port != 9
    emit e { t: now }
  otherwise nothing
`
	k, err := contract.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, values := range []map[string]string{
		{"name": "web", "owner": "1000", "threshold": "250us", "address": "10.1.2.3", "errno": "ENOENT", "port": "443"},
		{"owner": "0", "threshold": "0", "port": "0"}, // root's, however long
	} {
		c := &Candidate{Contract: k, Object: o, Manifest: &program.Manifest{}}
		for name, v := range values {
			c.Manifest.Constants = append(c.Manifest.Constants, program.Constant{Name: name, Value: v})
		}
		kept, err := c.WithValues()
		if err != nil {
			t.Fatal(err)
		}
		back, err := contract.Parse(string(kept))
		if err != nil {
			t.Fatalf("%v\n%s", err, kept)
		}
		set, err := given(back, o)
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(set, values) {
			t.Errorf("set %v, want %v, by\n%s", set, values, kept)
		}
		if got := contract.Format(back); got != text {
			t.Errorf("its defaults became\n%s", got)
		}
	}
	// What the program has of itself is shown as well, if it narrows anything.
	set, err := given(k, o)
	if want := map[string]string{"threshold": "10000000", "port": "80"}; err != nil || !maps.Equal(set, want) {
		t.Errorf("set %v, %v, want %v", set, err, want)
	}
}
