package terminal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/bot/card"
	"kgent/bot/thread"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	"kgent/executor/bus/rdb/rdbtest"
)

var boardSecret = bytes.Repeat([]byte{7}, 32)

func newRedisBoard(t *testing.T, s *rdbtest.Server, host string, secret []byte) *Redis {
	t.Helper()
	return newBoard(t, s.Client(), host, secret)
}

func newBoard(t *testing.T, db redis.UniversalClient, host string, secret []byte) *Redis {
	t.Helper()
	b, err := NewRedis(db, host, secret)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// One contract for both boards.
func TestBoards(t *testing.T) {
	rdb.Quiet()
	s := rdbtest.Start(t, rdbtest.Unix())
	cluster := rdbtest.StartCluster(t, 0).Client()
	for name, open := range map[string]func(t *testing.T) Board{
		"memory": func(*testing.T) Board { return NewMemory(time.Now) },
		"redis":  func(t *testing.T) Board { return newRedisBoard(t, s, t.Name()[len("TestBoards/redis/"):], boardSecret) },
		"cluster": func(t *testing.T) Board {
			return newBoard(t, cluster, t.Name()[len("TestBoards/cluster/"):], boardSecret)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("changes", func(t *testing.T) { boardChanges(t, open(t)) })
			t.Run("files", func(t *testing.T) { boardFiles(t, open(t)) })
			t.Run("bounded", func(t *testing.T) { boardBounded(t, open(t)) })
		})
	}
}

func aPost(id, title string) Post {
	return Post{ID: id, Place: thread.Place{Surface: Surface, Tenant: "h", Channel: Console}, Card: card.Card{Title: title, Blocks: []card.Block{card.Note{Body: "n"}}}, At: time.Unix(9, 0).UTC()}
}

func put(t *testing.T, b Board, ps ...Post) {
	t.Helper()
	for _, p := range ps {
		if err := b.Put(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
}

func since(t *testing.T, b Board, after uint64) ([]string, uint64) {
	t.Helper()
	posts, next, err := b.Since(t.Context(), after)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range posts {
		if p.Seq <= after || p.Seq > next {
			t.Errorf("post %s has the number %d, not in (%d, %d]", p.ID, p.Seq, after, next)
		}
		out = append(out, p.ID+":"+p.Card.Title)
	}
	return out, next
}

func boardChanges(t *testing.T, b Board) {
	if got, next := since(t, b, 0); len(got) != 0 || next != 0 {
		t.Fatalf("an empty board has %v up to %d", got, next)
	}
	put(t, b, aPost("a", "1"), aPost("b", "1"))
	got, next := since(t, b, 0)
	if want := []string{"a:1", "b:1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	put(t, b, aPost("a", "2"), aPost("c", "1"), aPost("a", "3"))
	if got, _ := since(t, b, next); !slices.Equal(got, []string{"c:1", "a:3"}) {
		t.Errorf("changes are %v", got)
	}
	if got, _ := since(t, b, 0); !slices.Equal(got, []string{"b:1", "c:1", "a:3"}) {
		t.Errorf("all is %v", got)
	}
	_, next = since(t, b, 0)
	if got, same := since(t, b, next); len(got) != 0 || same != next {
		t.Errorf("nothing changed, and there is %v up to %d", got, same)
	}
	p, err := b.Get(t.Context(), "a")
	if err != nil || p.Card.Title != "3" || p.Place.Channel != Console || !p.At.Equal(time.Unix(9, 0)) {
		t.Errorf("got %+v, %v", p, err)
	}
	if _, err := b.Get(t.Context(), "nosuch"); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func boardFiles(t *testing.T, b Board) {
	data := []byte("\x00some output\n")
	p := aPost("a", "1")
	p.Files = []File{{Name: "x.txt", Title: "X", Size: len(data), Data: data}}
	put(t, b, p)
	posts, _, err := b.Since(t.Context(), 0)
	if err != nil || len(posts) != 1 || len(posts[0].Files) != 1 || posts[0].Files[0].Data != nil || posts[0].Files[0].Size != len(data) {
		t.Fatalf("got %+v, %v", posts, err)
	}
	put(t, b, posts[0]) // an edit: files stay
	if got, err := b.File(t.Context(), "a", 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, n := range []int{-1, 1} {
		if _, err := b.File(t.Context(), "a", n); !errors.Is(err, ErrNotFound) {
			t.Errorf("file %d: %v", n, err)
		}
	}
}

func boardBounded(t *testing.T, b Board) {
	for i := range KeptPosts + 5 {
		put(t, b, aPost(fmt.Sprint(i), ""))
	}
	got, _ := since(t, b, 0)
	if len(got) != KeptPosts || got[0] != "5:" {
		t.Errorf("%d are kept, from %v", len(got), got[0])
	}
}

// Whoever can write to Redis can put nothing on anybody's screen; and the bot's
// own Redis user may do all that the board needs.
func TestRedisSealed(t *testing.T) {
	rdb.Quiet()
	s := rdbtest.Start(t, rdbtest.Unix())
	b := newRedisBoard(t, s, "h", boardSecret)
	other := newRedisBoard(t, s, "h", bytes.Repeat([]byte{8}, 32))
	p := aPost("forged", "approve me")
	p.Files = []File{{Name: "x", Data: []byte("evil")}}
	put(t, other, p)
	put(t, b, aPost("good", "1"))
	posts, next, err := b.Since(t.Context(), 0)
	if !errors.Is(err, thread.ErrSeal) || len(posts) != 1 || posts[0].ID != "good" || next != posts[0].Seq {
		t.Errorf("got %+v up to %d, %v", posts, next, err)
	}
	// It is taken off the board, and named once.
	var bad *UnreadableError
	if !errors.As(err, &bad) || !slices.Equal(bad.IDs, []string{"forged"}) {
		t.Errorf("error %v", err)
	}
	if posts, _, err := b.Since(t.Context(), 0); err != nil || len(posts) != 1 {
		t.Errorf("then %+v, %v", posts, err)
	}
	if _, err := b.Get(t.Context(), "forged"); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if data, err := b.File(t.Context(), "forged", 0); !errors.Is(err, thread.ErrSeal) || data != nil {
		t.Errorf("got %q, %v", data, err)
	}
	// A post of one name is none of another.
	c := s.Client()
	raw := c.Get(t.Context(), b.post("good")).Val()
	c.Set(t.Context(), b.post("forged"), raw, 0)
	if _, err := b.Get(t.Context(), "forged"); !errors.Is(err, thread.ErrSeal) {
		t.Errorf("error %v", err)
	}
	// While a key is replaced, the one before is believed as well.
	both, err := NewRedis(c, "h", bytes.Repeat([]byte{9}, 32), boardSecret)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := both.Get(t.Context(), "good"); err != nil || p.Card.Title != "1" {
		t.Errorf("with the next secret: %+v, %v", p, err)
	}
	put(t, both, aPost("new", "2"))
	if _, err := b.Get(t.Context(), "new"); !errors.Is(err, thread.ErrSeal) {
		t.Errorf("it does not seal with its own: %v", err)
	}
	if _, err := NewRedis(c, "h", boardSecret, []byte("short")); err == nil {
		t.Error("a short other secret was taken")
	}
	if _, err := NewRedis(c, "h", []byte("short")); err == nil {
		t.Error("a short secret was taken")
	}
	if ttl := c.TTL(t.Context(), b.post("good")).Val(); ttl <= 0 || ttl > PostKept {
		t.Errorf("a post is kept for %v", ttl)
	}
	// Who follows goes on although Redis was emptied, and with a clock that is
	// behind.
	c.FlushDB(t.Context())
	b.now = func() time.Time { return time.Now().Add(-time.Hour) }
	put(t, b, aPost("new", "1"))
	posts, now, err := b.Since(t.Context(), next)
	if err != nil || len(posts) != 1 || posts[0].ID != "new" || now != posts[0].Seq {
		t.Errorf("after Redis was emptied there is %+v up to %d, %v", posts, now, err)
	}
}

func TestRedisRules(t *testing.T) {
	rdb.Quiet()
	rules := "user " + bus.BotUser + " on >pw"
	for _, r := range bus.BotRules() {
		rules += " " + r
	}
	s := rdbtest.Start(t, rdbtest.Unix(), rdbtest.ACL(rules))
	b, err := NewRedis(s.ClientOf(bus.BotUser, "pw"), "h", boardSecret)
	if err != nil {
		t.Fatal(err)
	}
	boardFiles(t, b)
	b.prefix += "2"
	boardChanges(t, b)
}
