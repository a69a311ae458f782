package dryrun

import "testing"

func TestFromText(t *testing.T) {
	for _, tc := range []struct {
		text, rest string
		said       Said
	}{
		{"which processes exit", "which processes exit", Nothing},
		{"dry run: drop packets to port 80 on db-1", "drop packets to port 80 on db-1", Dry},
		{"Dry-run of dropping UDP to port 53", "dropping UDP to port 53", Dry},
		{"drop packets to port 80 as a dry run", "drop packets to port 80", Dry},
		{"drop packets to port 80 (dry run)", "drop packets to port 80", Dry},
		{"drop packets to port 80, but only as a dry run, on db-1", "drop packets to port 80 on db-1", Dry},
		{"do a dry run first: kill whoever opens /etc/shadow", "kill whoever opens /etc/shadow", Dry},
		{"dry run", "", Dry},
		{"drop packets. dry run.", "drop packets.", Dry},
		{"for real", "", Real},
		{"now for real, on db-2", "on db-2", Real},
		{"the same, not as a dry run", "the same", Real},
		{"without dry run on db-1", "on db-1", Real},
		{"dry run: drop it; no, not a dry run", "drop it; no", Real},
		// What people think is dry is dry.
		{"dry run, not for real: drop packets to port 80", "drop packets to port 80", Dry},
		{"drop packets to port 80, but not for real", "drop packets to port 80", Dry},
		{"drop packets to port 80, don't do it for real yet", "drop packets to port 80", Dry},
		{"do not drop packets to port 80 for real", "do not drop packets to port 80", Dry},
		{"drop packets to port 80, a dry run first, then for real", "drop packets to port 80 then", Dry},
		{"drop packets to port 80 for real, but first a dry run", "drop packets to port 80", Dry},
		{"why not a dry run of dropping UDP", "dropping UDP", Dry},
		{"[dry run] drop packets to port 80", "drop packets to port 80", Dry},
		{"drop packets to port 80 *dry run*", "drop packets to port 80", Dry},
		{"_dry-run_ — drop packets to port 80", "drop packets to port 80", Dry},
		{"not a dry run: drop packets for real", "drop packets", Real},
		{"drop packets not from 10.0.0.1, for real", "drop packets not from 10.0.0.1", Real},
		// What is part of somebody's program or of other words is not meant.
		{"which programs are run with --dry-run", "which programs are run with --dry-run", Nothing},
		{"who opens /tmp/dry-run/x", "who opens /tmp/dry-run/x", Nothing},
		{"who opens the file \"dry run\"", "who opens the file \"dry run\"", Nothing},
		{"laundry runs of cron", "laundry runs of cron", Nothing},
	} {
		if said, rest := FromText(tc.text); said != tc.said || rest != tc.rest {
			t.Errorf("%q: %v, %q; want %v, %q", tc.text, said, rest, tc.said, tc.rest)
		}
	}
}
