package capabilityuse_test

import (
	"fmt"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"use": use, "told": told})
}

// How often use does what takes a capability.
const (
	chroots = 3 // CAP_SYS_CHROOT, as root
	nices   = 2 // CAP_SYS_NICE, as root
	denials = 5 // CAP_SYS_CHROOT, as nobody
)

// nobody is a user without capabilities.
const nobody = 65533

func use([]string) error {
	return recipetest.Thread("rt-cap-thread", func(int) error {
		for range chroots {
			if err := unix.Chroot("/"); err != nil {
				return err
			}
		}
		for n := range nices {
			if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -n-1); err != nil {
				return err
			}
		}
		if err := recipetest.SetUID(nobody); err != nil {
			return err
		}
		for range denials {
			if err := unix.Chroot("/"); err != unix.EPERM {
				return fmt.Errorf("changing the root without privileges: %v", err)
			}
		}
		return nil
	})
}

func told([]string) error {
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	return use(nil)
}

func TestUse(t *testing.T) {
	type row struct {
		capability string
		granted    bool
		count      int
	}
	root, nice, denied := row{"CAP_SYS_CHROOT", true, chroots}, row{"CAP_SYS_NICE", true, nices}, row{"CAP_SYS_CHROOT", false, denials}
	for _, tc := range []struct {
		name, request string
		rows          []row
		decoys        []row
		only          recipetest.Want // every row is like this, beyond the process
		others        bool            // other processes may have rows
	}{
		{name: "process and capability", request: "trace CAP_SYS_CHROOT use of rt-cap", rows: []row{root, denied}, decoys: []row{nice},
			only: recipetest.Want{"capability": "CAP_SYS_CHROOT", "comm": "rt-cap"}},
		{name: "capability", request: "who uses CAP_SYS_NICE?", rows: []row{nice}, decoys: []row{root, denied},
			only: recipetest.Want{"capability": "CAP_SYS_NICE"}, others: true},
		{name: "pid", request: "which privileges does pid %d use?", rows: []row{root, nice, denied}},
		{name: "user", request: "count capability checks of user " + strconv.Itoa(nobody), rows: []row{denied}, decoys: []row{root, nice}, others: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, decoy := recipetest.Start(t, "rt-cap", "told"), recipetest.Start(t, "rt-cap-other", "told")
			request := tc.request
			if tc.name == "pid" {
				request = fmt.Sprintf(request, p.Pid)
			}
			result := recipetest.Run(t, request, func(*recipetest.Live) {
				decoy.Tell("go")
				decoy.Wait()
				p.Tell("go")
				p.Wait()
			})
			want := func(r row) recipetest.Want {
				return recipetest.Want{"pid": p.Pid, "comm": "rt-cap", "capability": r.capability, "granted": r.granted}
			}
			for _, r := range tc.rows {
				rows := result.Rows("checks", want(r))
				if len(rows) != 1 {
					t.Fatalf("%d rows for %+v, want one: %v", len(rows), r, result.Rows("checks", nil))
				}
				if n := recipetest.Number(t, rows[0].Value, "count"); n != int64(r.count) {
					t.Errorf("%s granted %t: %d checks, want %d", r.capability, r.granted, n, r.count)
				}
			}
			for _, r := range tc.decoys {
				if rows := result.Rows("checks", want(r)); len(rows) > 0 {
					t.Errorf("a row that was not asked for: %v", rows)
				}
			}
			all := result.Rows("checks", nil)
			if n := len(result.Rows("checks", tc.only)); n != len(all) {
				t.Errorf("%d of %d rows are like %v", n, len(all), tc.only)
			}
			if rows := result.Rows("checks", recipetest.Want{"pid": p.Pid}); !tc.others && len(rows) != len(all) {
				t.Errorf("rows of other processes: %v", all)
			}
		})
	}
}
