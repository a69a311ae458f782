package thread_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/approvals/policy"
	"kgent/bot/thread"
	"kgent/executor/job"
)

// What an attacker tries, and where it is tried. S is the number in the list
// of security requirements.
//
//	S1  TestForgedButtons; slack TestAnyCardIsTaken, discord TestRenderButtons (nothing but verb and id)
//	S2  TestVoteDuringEdit, TestReplayedEvents; TestEdit; approvals TestRevision…; job TestDigest
//	S3  TestRacingClicks; approvals TestVoteDuringVote, policy TestNeverGrantedWithoutQuorum (Memory and Redis)
//	S4  TestFailsClosed; policy TestAttacks, TestBrokenFile; approvals TestVoteFaults
//	S5  TestTwoPersons; policy TestCompare, TestAttacks (self-approval, linked and unlinked accounts)
//	S6  slack TestMember, discord TestPeople; policy TestAttacks (an approver leaves, a directory is silent)
//	S7  TestStrangers; TestWhoMay; slack TestHuman, TestForeignersKeepTheirWorkspace, TestSharedChannels; discord TestPeople, TestGuilds
//	S8  approvals TestRisk, TestAssessTiers; policy TestJudge
//	S9  TestWhoMay, approvals TestBreakGlass…; policy TestBreakGlass
//	S10 TestExpired, TestUndeliverable, TestDenied; approvals TestExpiry, TestApprovalExpires
//	S11 job TestOpenRefuses, TestOpenLabels; executor TestReplays…; cmd TestExecutorUnderAttack; approvals TestGrantAfterRollback; policy TestForgedLabels
//	S12 TestUnseenCharacters; slack TestTextFromOutsideIsOnlyText, discord TestInjection; bus TestRedisDistrusts
//	S13 TestMainLine; approvals TestAssess
//	S14 redact's tests; cmd TestExecutorRedacts (a real node)
//	S15 slack TestWhatIsNotSignedIsRefused, TestVerify; discord TestSignatures; TestReplayedEvents
//	S16 the logs of every test of slack and discord are searched for tokens
//	S17 TestAuditOfDecisions; audit TestVerify…
//	S18 TestQuotasAndSwitch; policy TestQuotas; executor TestRefusals (runs)
//	S19 TestStopAlwaysWorks; executor TestStopWhileBusy
//	S20 every refusal in these tests is looked for in what the person was told

// guarded is a policy as a team has it: two of the approvers, one Slack
// workspace and one Discord server.
const guarded = `
version: 1
tenants: [slack:T, discord:T]
people:
  ada: [slack:T/ada, discord:T/1]
  bob: [slack:T/bob, discord:T/2]
  cyd: [slack:T/cyd]
rules:
  - tiers: [observe, observe-sensitive]
    nodes: role=db
    quorum: 2
    approvers: {people: [ada, bob, cyd], groups: [slack:T/SOPS, discord:T/90]}
    requesters: {anyone: true}
    max_duration: 2m
    max_events: 5000
    expiry: 15m
quotas: {requests_per_person_and_hour: 4}
`

// office is what the policy asks: groups, as a test likes.
type office struct {
	mu      sync.Mutex
	members map[string][]string
	err     error
}

func (o *office) Member(_ context.Context, account, group string) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Contains(o.members[group], account), o.err
}

func (o *office) set(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

// underGuard runs a test with the real policy.
func underGuard(t *testing.T, test func(tm *team, c *thread.Conversation, o *office, path string)) {
	t.Helper()
	if _, err := object(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		tm := newTeam(t)
		o := &office{members: map[string][]string{"slack:T/SOPS": {"slack:T/dan", "slack:T/eve"}, "discord:T/90": {"discord:T/2", "discord:T/7"}}}
		path := filepath.Join(t.TempDir(), "policy.yaml")
		write(t, path, guarded)
		f, err := policy.Open(path, policy.Options{Groups: o, Quotas: &policy.MemoryQuotas{}, Now: time.Now, Labels: func(context.Context, []string) (map[string]map[string]string, error) {
			all := map[string]map[string]string{}
			for _, n := range tm.fleet.list {
				all[n.Name] = n.Labels
			}
			return all, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		tm.file = f
		c, stop := tm.start("one")
		defer func() {
			stop()
			if t.Failed() {
				t.Log(tm.warned.String())
			}
		}()
		test(tm, c, o, path)
	})
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// pending asks for something and returns the button's id.
func (tm *team) pending(c *thread.Conversation) string {
	tm.Helper()
	tm.ask(c, "ada", "who calls getppid on db-1")
	return tm.slack.button(tm.T, "card:", "approve")
}

// refuses clicks, and wants an answer to whoever clicked that says why.
func (tm *team) refuses(c *thread.Conversation, who, verb, id, want string) {
	tm.Helper()
	chat, before := tm.slack, 0
	if strings.HasPrefix(who, "discord:") {
		chat = tm.discord
	}
	before = len(chat.whispers)
	tm.click(c, who, verb, id)
	if len(chat.whispers) != before+1 {
		tm.Errorf("%s %s %s: %d answers", who, verb, id, len(chat.whispers)-before)
		return
	}
	tm.holds(who+"'s answer to "+verb+" "+id, chat.whispered(), tm.account(who).User+": "+map[string]string{"approve": "Your approval does not count", "deny": "Your denial does not count"}[verb], want)
}

// votes are those of the only undecided case.
func (tm *team) votes() int {
	tm.Helper()
	cs, err := tm.cases.Undecided(context.Background())
	if err != nil || len(cs) != 1 {
		tm.Fatalf("%d cases, %v", len(cs), err)
	}
	return len(cs[0].Votes)
}

func TestForgedButtons(t *testing.T) {
	underGuard(t, func(tm *team, c *thread.Conversation, _ *office, _ string) {
		id := tm.pending(c)
		request, rest, _ := strings.Cut(id, "-")
		_, digest, ok := strings.Cut(rest, "-")
		if !ok || len(id) > 60 || strings.Contains(id, "db-1") {
			t.Fatalf("the button says %q", id)
		}
		cs, err := tm.cases.Undecided(context.Background())
		if err != nil || len(cs) != 1 {
			t.Fatal(err)
		}
		for forged, want := range map[string]string{
			"": "knows nothing", "x": "knows nothing", "-1": "knows nothing", cs[0].ID: "knows nothing", strings.Repeat("f", 32) + "-1-" + digest: "knows nothing",
			request: "out of date", request + "-1": "out of date", request + "-2-" + digest: "out of date", request + "-01-" + digest: "out of date",
			request + "-1-0000000000000000": "out of date", id + "0": "out of date", id + "-": "out of date", strings.ToUpper(id): "knows nothing",
		} {
			tm.refuses(c, "bob", "approve", forged, want)
		}
		for _, verb := range []string{"", "APPROVE", "break-glass"} {
			tm.refuses(c, "bob", verb, id, "kgent does not know what to do")
		}
		if n := tm.votes(); n != 0 {
			t.Errorf("%d votes", n)
		}
		if len(tm.fleet.sent) != 0 {
			t.Error("it ran")
		}
	})
}

// A vote on one revision that is counted while the next is being made starts
// neither.
func TestVoteDuringEdit(t *testing.T) {
	underGuard(t, func(tm *team, c *thread.Conversation, _ *office, _ string) {
		first := tm.pending(c)
		tm.click(c, "bob", "approve", first)
		cs, err := tm.cases.Undecided(context.Background())
		if err != nil || len(cs) != 1 || len(cs[0].Votes) != 1 {
			t.Fatalf("%+v, %v", cs, err)
		}
		wait := make(chan struct{})
		tm.maker.set(wait)
		tm.submit(c, "ada", "refine", first, map[string]string{"text": "only pid 9"})
		tm.refuses(c, "cyd", "approve", first, "being made again")
		// What a click does that looked at the request just before the edit.
		if _, err := c.Desk.Decide(context.Background(), cs[0].ID, approvals.Vote{By: approvals.Person{ID: "cyd", Account: "slack:T/cyd", Surface: "slack", Human: true}, Choice: approvals.Approve}); err != nil {
			t.Fatal(err)
		}
		tm.settle()
		if len(tm.fleet.sent) != 0 {
			t.Fatal("the old revision runs")
		}
		close(wait)
		tm.settle()
		tm.holds("the new card", tm.slack.shown("card:"), "0 of 2", "[Approve]")
		var stale *approvals.StaleError
		if _, _, err := c.Desk.Grant(context.Background(), cs[0].ID); !errors.As(err, &stale) || stale.State != approvals.Superseded {
			t.Errorf("granting the old revision: %v", err)
		}
		second := tm.slack.button(t, "card:", "approve")
		tm.click(c, "bob", "approve", second)
		if len(tm.fleet.sent) != 0 || tm.votes() != 1 {
			t.Errorf("sent %v with one vote", tm.fleet.sent)
		}
	})
}

// Whoever asked first had a part in it, also when somebody else changed it
// before there was a program.
func TestAuthorBeforeTheCard(t *testing.T) {
	underGuard(t, func(tm *team, c *thread.Conversation, _ *office, _ string) {
		wait := make(chan struct{})
		tm.maker.set(wait)
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.ask(c, "eve", "please")
		close(wait)
		tm.settle()
		id := tm.slack.button(t, "card:", "approve")
		tm.refuses(c, "ada", "approve", id, "you asked for this")
		tm.refuses(c, "discord:1", "approve", id, "you asked for this")
		tm.refuses(c, "eve", "approve", id, "you asked for this")
		if tm.votes() != 0 {
			t.Error("an author counts")
		}
	})
}

// Clicks of one person at once, in several deliveries, are one vote.
func TestRacingClicks(t *testing.T) {
	underGuard(t, func(tm *team, c *thread.Conversation, _ *office, _ string) {
		id := tm.pending(c)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				e := thread.Event{Key: fmt.Sprintf("race%d", i/2), Kind: thread.Click, By: tm.account("bob"), Verb: "approve", ID: id, At: time.Now(),
					Place: thread.Place{Surface: "slack", Tenant: "T", Channel: "C", Thread: fmt.Sprintf("t%d", i)}}
				if err := c.Receive(context.Background(), e); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		tm.settle()
		if n := tm.votes(); n != 1 || len(tm.fleet.sent) != 0 {
			t.Errorf("%d votes, sent %v", n, tm.fleet.sent)
		}
		if n := len(tm.slack.whispers); n != 9 {
			t.Errorf("%d of 9 clicks that did not count were answered", n)
		}
	})
}

func TestFailsClosed(t *testing.T) {
	underGuard(t, func(tm *team, c *thread.Conversation, o *office, path string) {
		id := tm.pending(c)
		tm.click(c, "bob", "approve", id)
		write(t, path, guarded+"nonsense: true\n")
		tm.pass(5 * time.Second)
		tm.refuses(c, "cyd", "approve", id, "policy file is broken")
		write(t, path, strings.Replace(guarded, "approvers: {people: [ada, bob, cyd], groups: [slack:T/SOPS, discord:T/90]}", "approvers: {people: []}", 1))
		tm.refuses(c, "cyd", "approve", id, "you are none of them")
		// Who asked is told that first, in whatever list they are.
		tm.refuses(c, "ada", "approve", id, "you asked for this")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		tm.refuses(c, "cyd", "approve", id, "cannot be read")
		write(t, path, guarded)
		// A directory that is silent: the click is tried again, and then answered.
		o.set(errors.New("rate limited"))
		tm.click(c, "dan", "approve", id)
		tm.pass(2 * time.Minute)
		tm.holds("the answer", tm.slack.whispered(), "dan: That did not work")
		o.set(nil)
		if n := tm.votes(); n != 1 || len(tm.fleet.sent) != 0 {
			t.Errorf("%d votes, sent %v", n, tm.fleet.sent)
		}
		tm.click(c, "dan", "approve", id)
		if len(tm.fleet.sent) != 1 {
			t.Errorf("sent %v", tm.fleet.sent)
		}
	})
}

func TestTwoPersons(t *testing.T) {
	underGuard(t, func(tm *team, c *thread.Conversation, _ *office, _ string) {
		id := tm.pending(c)
		tm.refuses(c, "ada", "approve", id, "you asked for this")
		tm.refuses(c, "discord:1", "approve", id, "you asked for this")
		tm.click(c, "bob", "approve", id)
		tm.refuses(c, "discord:2", "approve", id, "approved this already")
		tm.refuses(c, "mal", "approve", id, "you are none of them")
		tm.refuses(c, "mal", "deny", id, "you are none of them")
		tm.refuses(c, "mal", "cancel", id, "only ada, who asked, can take it back")
		tm.refuses(c, "bob", "glass", id, "takes a reason")
		tm.submit(c, "bob", "glass", id, map[string]string{"reason": "now"})
		tm.holds("the answer", tm.slack.whispered(), "bob: Not taken", "lets nobody break the glass")
		if n := tm.votes(); n != 1 || len(tm.fleet.sent) != 0 {
			t.Fatalf("%d votes, sent %v", n, tm.fleet.sent)
		}
		// Somebody else's edit of it does not help who edited.
		tm.submit(c, "dan", "edit", id, map[string]string{"duration": "45s"})
		second := tm.slack.button(t, "card:", "approve")
		for _, who := range []string{"dan", "ada", "discord:1"} {
			tm.refuses(c, who, "approve", second, "you asked for this")
		}
		tm.click(c, "bob", "approve", second)
		tm.click(c, "cyd", "approve", second)
		if len(tm.fleet.sent) != 1 {
			t.Errorf("sent %v", tm.fleet.sent)
		}
	})
}

// Of other workspaces, servers and direct messages that name none, nobody asks,
// answers, reads or stops anything.
func TestStrangers(t *testing.T) {
	underGuard(t, func(tm *team, c *thread.Conversation, _ *office, _ string) {
		id := tm.pending(c)
		tm.slack.bots["guest"] = "this is a guest's account"
		place := thread.Place{Surface: "slack", Tenant: "T", Channel: "C", Thread: "root"}
		strangers := []thread.Account{
			{Surface: "slack", Tenant: "TOTHER", User: "bob", Name: "bob"}, {Surface: "slack", Tenant: "", User: "bob"}, {Surface: "discord", Tenant: "", User: "2"},
			{Surface: "discord", Tenant: "G2", User: "2"}, {Surface: "slack", Tenant: "T", User: "guest"}, {Surface: "slack", Tenant: "T/bob", User: "x"},
		}
		nodes := func() int {
			n := 0
			for key := range tm.slack.posts {
				if strings.HasPrefix(key, "a:") || strings.HasPrefix(key, "source:") || strings.HasPrefix(key, "home:") {
					n++
				}
			}
			return n
		}
		for _, who := range strangers {
			chat := tm.slack
			if who.Surface == "discord" {
				chat = tm.discord
			}
			for _, e := range []thread.Event{
				{Kind: thread.Ask, Text: "who calls getppid on db-1"}, {Kind: thread.Ask, Text: "nodes"}, {Kind: thread.Ask, Text: "recipes"}, {Kind: thread.Ask, Text: "list"},
				{Kind: thread.Click, Verb: "approve", ID: id}, {Kind: thread.Submit, Verb: "deny", ID: id}, {Kind: thread.Click, Verb: "cancel", ID: id},
				{Kind: thread.Click, Verb: "source", ID: id}, {Kind: thread.Click, Verb: "save", ID: id}, {Kind: thread.Submit, Verb: "edit", ID: id, Fields: map[string]string{"duration": "1s"}},
				{Kind: thread.Submit, Verb: "refine", ID: id, Fields: map[string]string{"text": "x"}}, {Kind: thread.Home},
			} {
				before := len(chat.whispers)
				e.By, e.Place = who, place
				if who.Surface == "discord" {
					e.Place.Surface = "discord"
				}
				tm.send(c, e)
				if len(chat.whispers) != before+1 || !strings.Contains(chat.whispered(), "Not taken") && !strings.Contains(chat.whispered(), "does not count") {
					t.Errorf("%s %s %s%s: answers %q", who, e.Kind, e.Verb, e.Text, chat.whispered())
				}
			}
			if who.User != "guest" && c.Complete(context.Background(), who, "node", "") != nil {
				t.Errorf("%s is told the nodes", who)
			}
		}
		if nodes() != 0 || tm.votes() != 0 || len(tm.maker.asked) != 1 {
			t.Errorf("%d answers, %d votes, asked %v", nodes(), tm.votes(), tm.maker.asked)
		}
	})
}

// Whoever has what people once said, sealed as it is, and can empty the store,
// has no second run and no agreement to anything else.
func TestReplayedEvents(t *testing.T) {
	for name, tt := range map[string]struct {
		later  time.Duration
		value  string // of the program's constant, the second time
		answer string
		grants bool // the case is granted; nodes refuse it
	}{
		"at once":                {0, "7", "", true},
		"later":                  {11 * time.Minute, "7", "arrived here", false},
		"another program":        {0, "8", "out of date", false},
		"another program, later": {11 * time.Minute, "8", "out of date", false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := object(); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				tm := newTeam(t)
				tm.rules.quorum = 1
				one, stop := tm.start("one")
				ask := thread.Event{Key: "ask", Kind: thread.Ask, By: tm.account("ada"), Text: "who calls getppid on db-1", At: time.Now()}
				tm.send(one, ask)
				vote := thread.Event{Key: "vote", Kind: thread.Click, By: tm.account("bob"), Verb: "approve", ID: tm.slack.button(t, "card:", "approve"), At: time.Now()}
				tm.send(one, vote)
				stop()
				tm.pass(tt.later)
				tm.store, tm.cases = thread.NewMemory(time.Now), &approvals.Memory{}
				tm.maker.value = tt.value
				two, stop := tm.start("two")
				defer stop()
				tm.send(two, ask)
				tm.send(two, vote)
				tm.holds("the answer", tm.slack.whispered(), tt.answer)
				seen := claims{}
				var taken, refused int
				for _, run := range tm.fleet.sent {
					v := &job.Verifier{Node: "db-1", Keys: []ed25519.PublicKey{tm.key.Public()}, Replays: seen, Now: time.Now}
					var no *job.RefusedError
					switch _, _, err := v.Open(tm.fleet.envelopes[run]); {
					case err == nil:
						taken++
					case errors.As(err, &no) && no.Refusal == job.RefusedReplay:
						refused++
					}
				}
				if taken > 1 || tt.grants != (refused == 1) || tt.later == 0 && taken != 1 {
					t.Errorf("%d runs taken, %d refused of %v", taken, refused, tm.fleet.sent)
				}
			})
		})
	}
}

type claims map[string]bool

func (c claims) Claim(id string, _ time.Time) (bool, error) {
	used := c[id]
	c[id] = true
	return !used, nil
}

// The source that is shown for approval has nothing in it that cannot be seen.
func TestUnseenCharacters(t *testing.T) {
	const unseen = "\u202e\u2066\u200b\u2060\ufeff\u061c\u00ad\u034f\u115f\u3164\ufe0f\u180e\u2028\x1b\x00\U000e0041\U000e0100"
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.maker.source = "int x; /* " + unseen + " */"
		tm.maker.name = "../../etc/" + unseen + "<!channel>"
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.click(c, "bob", "source", tm.slack.button(t, "card:", "source"))
		tm.click(c, "bob", "save", tm.slack.button(t, "card:", "approve"))
		shown := 0
		for _, id := range tm.slack.order {
			for _, f := range tm.slack.byID[id].Files {
				shown++
				if strings.ContainsAny(f.Name+f.Title, unseen+"/<>") || strings.Contains(f.Name, "..") && !strings.Contains(f.Name, ".bpf.c") {
					t.Errorf("file %q, %q", f.Name, f.Title)
				}
				if strings.HasSuffix(f.Name, ".zip") {
					if _, err := zip.NewReader(bytes.NewReader(f.Data), int64(len(f.Data))); err != nil {
						t.Error(err)
					}
				} else if bytes.ContainsAny(f.Data, unseen) || bytes.Count(f.Data, []byte("�")) != len([]rune(unseen)) {
					t.Errorf("source %q", f.Data)
				}
			}
		}
		if shown != 2 {
			t.Errorf("%d files", shown)
		}
	})
}

func TestAuditOfDecisions(t *testing.T) {
	underGuard(t, func(tm *team, c *thread.Conversation, _ *office, _ string) {
		tm.slack.bots["guest"] = "this is a guest's account"
		id := tm.pending(c)
		tm.click(c, "guest", "approve", id)
		tm.click(c, "mal", "approve", id)
		tm.click(c, "bob", "approve", id)
		tm.click(c, "discord:7", "approve", id)
		tm.pass(time.Minute)
		raw, err := tm.log.Reader(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if head, err := audit.Verify(raw); err != nil || head.Seq != uint64(len(tm.log.Entries())) {
			t.Errorf("the log: %+v, %v", head, err)
		}
		for _, want := range []string{
			"request slack:T/ada", "refusal slack:T/guest", "refusal slack:T/mal", "vote slack:T/bob", "vote discord:T/7", "grant ",
		} {
			if !slices.ContainsFunc(tm.log.Entries(), func(e audit.Entry) bool {
				return strings.TrimSpace(string(e.Kind)+" "+e.Account) == strings.TrimSpace(want) && e.Detail != ""
			}) {
				t.Errorf("no entry %q", want)
			}
		}
	})
}

func TestQuotasAndSwitch(t *testing.T) {
	underGuard(t, func(tm *team, c *thread.Conversation, _ *office, path string) {
		id := tm.pending(c)
		tm.click(c, "bob", "approve", id)
		tm.click(c, "cyd", "approve", id)
		stop := tm.slack.button(t, "run:", "stop")
		write(t, path, "paused: migration\n"+guarded)
		tm.ask(c, "eve", "who calls getppid on db-1")
		tm.holds("the answer", tm.slack.whispered(), "eve: Not taken", "switched kgent off: migration")
		tm.click(c, "mal", "stop", stop) // anybody may
		if len(tm.fleet.stopped) != 1 || len(tm.fleet.sent) != 1 {
			t.Errorf("stopped %v of %v", tm.fleet.stopped, tm.fleet.sent)
		}
		write(t, path, guarded)
		for i := range 4 {
			tm.send(c, thread.Event{Kind: thread.Ask, By: tm.account("ada"), Text: "who calls getppid on db-1", Place: thread.Place{Surface: "slack", Tenant: "T", Channel: "C", Thread: fmt.Sprint("t", i)}})
		}
		tm.holds("the answer", tm.slack.whispered(), "ada: Not taken", "limit of 4 requests within an hour")
		other := tm.slack.button(t, "card:", "approve")
		tm.click(c, "bob", "approve", other)
		write(t, path, "paused: migration\n"+guarded)
		tm.refuses(c, "cyd", "approve", other, "switched kgent off")
		if len(tm.fleet.sent) != 1 {
			t.Errorf("sent %v", tm.fleet.sent)
		}
	})
}

// Stop needs neither the model nor the chat service nor the thread's turn.
func TestStopAlwaysWorks(t *testing.T) {
	underGuard(t, func(tm *team, c *thread.Conversation, o *office, path string) {
		id := tm.pending(c)
		tm.click(c, "bob", "approve", id)
		tm.click(c, "cyd", "approve", id)
		stop := tm.slack.button(t, "run:", "stop")
		hang := make(chan struct{})
		defer close(hang)
		tm.maker.set(hang)
		tm.ask(c, "eve", "who else calls getppid on db-1")
		tm.slack.mu.Lock()
		tm.slack.fail = func(thread.Message, bool) error { return errors.New("no answer") }
		tm.slack.bots["mal"] = "unknown"
		tm.slack.mu.Unlock()
		o.set(errors.New("no answer"))
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		e := thread.Event{Key: "stop", Kind: thread.Click, By: tm.account("mal"), Verb: "stop", ID: stop, At: start, Place: thread.Place{Surface: "slack", Tenant: "T", Channel: "C", Thread: "root"}}
		if err := c.Receive(context.Background(), e); err != nil {
			t.Fatal(err)
		}
		if len(tm.fleet.stopped) != 1 || time.Since(start) > time.Second {
			t.Errorf("stopped %v after %v", tm.fleet.stopped, time.Since(start))
		}
	})
}

// Lists in the store are nobody's word: somebody's words in one thread do not
// become the revision of another's request, nor stop it.
func TestForgedThread(t *testing.T) {
	underGuard(t, func(tm *team, c *thread.Conversation, _ *office, _ string) {
		id := tm.pending(c)
		request, _, _ := strings.Cut(id, "-")
		tm.lists.add("slack:T/C/elsewhere", request)
		tm.send(c, thread.Event{Kind: thread.Ask, By: tm.account("eve"), Text: "who calls getppid on db-2", Place: thread.Place{Surface: "slack", Tenant: "T", Channel: "C", Thread: "elsewhere"}})
		r, err := tm.store.Load(context.Background(), request)
		if err != nil || r.Revision != 1 || r.State != thread.Pending {
			t.Errorf("request %+v, %v", r.Revision, err)
		}
	})
}

// lists is a store in which somebody else has a hand in the lists of threads.
type lists struct {
	*thread.Memory
	forged *forgery
}

type forgery struct {
	mu  sync.Mutex
	ids map[string][]string // by place
}

func (f *forgery) add(place, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ids == nil {
		f.ids = map[string][]string{}
	}
	f.ids[place] = append(f.ids[place], id)
}

func (l lists) In(ctx context.Context, p thread.Place) ([]string, error) {
	ids, err := l.Memory.In(ctx, p)
	l.forged.mu.Lock()
	defer l.forged.mu.Unlock()
	return append(ids, l.forged.ids[p.String()]...), err
}

// The program that is stored with a case carries no seal. Another one in its
// place gets neither the words nor the verdict of the first.
func TestSwappedProgram(t *testing.T) {
	for _, verb := range []string{"edit", "save", "approve"} {
		t.Run(verb, func(t *testing.T) {
			inBubble(t, func(tm *team, c *thread.Conversation) {
				tm.rules.quorum = 1
				tm.swaps.set(nil)
				tm.ask(c, "ada", "who calls getppid on db-1")
				id := tm.slack.button(t, "card:", "approve")
				evil, err := made("666")
				if err != nil {
					t.Fatal(err)
				}
				tm.swaps.set(&evil.Program)
				switch verb {
				case "edit":
					tm.submit(c, "bob", "edit", id, map[string]string{"duration": "30s"})
					tm.holds("the whisper", tm.slack.whispered(), "bob: Not taken", "replaced by another one")
				case "save":
					tm.refuses(c, "bob", "save", id, "replaced by another one")
				case "approve":
					tm.click(c, "bob", "approve", id)
					tm.holds("the card", tm.slack.shown("card:"), "nothing ran", "not the program that was approved")
				}
				tm.settle()
				if len(tm.fleet.sent) != 0 {
					t.Error("it ran")
				}
			})
		})
	}
}

// swapped is a store of cases whose programs somebody replaces.
type swapped struct {
	approvals.Store
	by *swap
}

type swap struct {
	mu sync.Mutex
	p  *job.Program
}

func (s *swap) set(p *job.Program) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.p = p
}

func (s swapped) Program(ctx context.Context, id string) (job.Program, error) {
	s.by.mu.Lock()
	defer s.by.mu.Unlock()
	if s.by.p != nil {
		return *s.by.p, nil
	}
	return s.Store.Program(ctx, id)
}
