package discordd

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// wire is a bare gateway client.
type wire struct {
	t  *testing.T
	ws *websocket.Conn
}

type frame struct {
	Op int
	T  string
	S  int
	D  json.RawMessage
}

func dial(t *testing.T, s *Server, path string) *wire {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.DialContext(t.Context(), s.gatewayURL(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	ws.SetReadDeadline(time.Now().Add(patience))
	return &wire{t: t, ws: ws}
}

func (w *wire) send(op int, d any) {
	w.t.Helper()
	if err := w.ws.WriteJSON(map[string]any{"op": op, "d": d}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) next() frame {
	w.t.Helper()
	kind, b, err := w.ws.ReadMessage()
	if err != nil {
		w.t.Fatal(err)
	}
	if kind == websocket.BinaryMessage {
		z, err := zlib.NewReader(bytes.NewReader(b))
		if err != nil {
			w.t.Fatal(err)
		}
		if b, err = io.ReadAll(z); err != nil {
			w.t.Fatal(err)
		}
	}
	var f frame
	if err := json.Unmarshal(b, &f); err != nil {
		w.t.Fatal(err)
	}
	return f
}

// until reads on to an event or, with T empty, to an opcode.
func (w *wire) until(op int, name string) frame {
	w.t.Helper()
	for {
		if f := w.next(); f.Op == op && f.T == name {
			return f
		}
	}
}

// closed reads on to the close and returns its code.
func (w *wire) closed() int {
	w.t.Helper()
	for {
		_, _, err := w.ws.ReadMessage()
		var c *websocket.CloseError
		if errors.As(err, &c) {
			return c.Code
		}
		if err != nil {
			w.t.Fatalf("the connection ended without a close frame: %v", err)
		}
	}
}

func (w *wire) identify(s *Server, intents int) (session string) {
	w.t.Helper()
	w.send(2, map[string]any{"token": s.Token(), "intents": intents, "properties": map[string]string{}})
	var ready struct {
		Session string `json:"session_id"`
	}
	if err := json.Unmarshal(w.until(0, "READY").D, &ready); err != nil {
		w.t.Fatal(err)
	}
	return ready.Session
}

func TestCloseCodes(t *testing.T) {
	none := 0
	s := start(t, func(c *Config) { c.Privileged = &none })
	good := map[string]any{"token": s.Token(), "intents": intentGuilds}
	for _, tt := range []struct {
		name  string
		path  string
		first any // payload, or raw text
		then  any
		want  int
	}{
		{"unknown opcode", "/gateway?v=10", map[string]any{"op": 99}, nil, 4001},
		{"not JSON", "/gateway?v=10", "{", nil, 4002},
		{"too long", "/gateway?v=10", `{"op":1,"d":"` + strings.Repeat("x", 4096) + `"}`, nil, 4002},
		{"before IDENTIFY", "/gateway?v=10", map[string]any{"op": 3, "d": nil}, nil, 4003},
		{"wrong token", "/gateway?v=10", map[string]any{"op": 2, "d": map[string]any{"token": "x", "intents": 0}}, nil, 4004},
		{"RESUME with the wrong token", "/gateway?v=10", map[string]any{"op": 6, "d": map[string]any{"token": "x", "session_id": "x", "seq": 0}}, nil, 4004},
		{"IDENTIFY twice", "/gateway?v=10", map[string]any{"op": 2, "d": good}, map[string]any{"op": 2, "d": good}, 4005},
		{"wrong shard", "/gateway?v=10", map[string]any{"op": 2, "d": map[string]any{"token": s.Token(), "intents": 0, "shard": []int{2, 2}}}, nil, 4010},
		{"old version", "/gateway?v=6", map[string]any{"op": 1}, nil, 4012},
		{"unknown intents", "/gateway?v=9", map[string]any{"op": 2, "d": map[string]any{"token": s.Token(), "intents": 1 << 30}}, nil, 4013},
		{"no intents", "/gateway?v=9", map[string]any{"op": 2, "d": map[string]any{"token": s.Token()}}, nil, 4013},
		{"intents that are not switched on", "/gateway?v=9", map[string]any{"op": 2, "d": map[string]any{"token": s.Token(), "intents": intentMessageContent}}, nil, 4014},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := dial(t, s, tt.path)
			for _, p := range []any{tt.first, tt.then} {
				if text, raw := p.(string); raw {
					if err := w.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
						t.Fatal(err)
					}
				} else if p != nil {
					if err := w.ws.WriteJSON(p); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := w.closed(); got != tt.want {
				t.Errorf("closed with %d, want %d", got, tt.want)
			}
		})
	}
}

func TestResume(t *testing.T) {
	s := start(t, nil)
	resume := func(session string, seq int) *wire {
		w := dial(t, s, "/resume?v=10")
		w.send(6, map[string]any{"token": s.Token(), "session_id": session, "seq": seq})
		return w
	}
	w := dial(t, s, "/gateway?v=10")
	session := w.identify(s, intentGuilds|intentMessages|intentMessageContent)
	seq := w.until(0, "GUILD_CREATE").S

	if f := resume("nonsense", 1).until(9, ""); string(f.D) != "false" {
		t.Errorf("an unknown session: %s, want false", f.D)
	}
	if got := resume(session, seq+100).closed(); got != 4007 {
		t.Errorf("a sequence number of the future: %d, want 4007", got)
	}

	w.ws.NetConn().Close()
	for i := range 3 {
		if _, err := s.As(ExampleAlice).Post(ExampleGeneral, fmt.Sprint("missed ", i)); err != nil {
			t.Fatal(err)
		}
	}
	again := resume(session, seq)
	for i := range 3 {
		f := again.until(0, "MESSAGE_CREATE")
		if f.S != seq+1+i || !strings.Contains(string(f.D), fmt.Sprint("missed ", i)) {
			t.Errorf("replayed %d %s, want number %d", f.S, f.D, seq+1+i)
		}
	}
	if f := again.next(); f.T != "RESUMED" {
		t.Errorf("after the replay %q, want RESUMED", f.T)
	}

	s.Reconnect()
	again.until(7, "")
	s.InvalidateSessions(true)
	if f := again.until(9, ""); string(f.D) != "true" {
		t.Errorf("%s, want true", f.D)
	}

	// Closing with 1000 ends the session.
	if err := again.ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "")); err != nil {
		t.Fatal(err)
	}
	again.closed()
	if err := s.await(within(t), func() bool { return s.sessions[session].dead }); err != nil {
		t.Fatal(err)
	}
	if f := resume(session, seq).until(9, ""); string(f.D) != "false" {
		t.Errorf("after a close with 1000: %s, want false", f.D)
	}

	// So does time.
	w = dial(t, s, "/gateway?v=10")
	session = w.identify(s, intentGuilds)
	w.ws.NetConn().Close()
	if err := s.await(within(t), func() bool { return s.sessions[session].conn == nil }); err != nil {
		t.Fatal(err)
	}
	s.Advance(time.Hour)
	if got := resume(session, 1).closed(); got != 4009 {
		t.Errorf("an hour later: %d, want 4009", got)
	}

	// After opcode 9 with false the client may identify on the same socket.
	w = dial(t, s, "/gateway?v=10")
	first := w.identify(s, intentGuilds)
	s.InvalidateSessions(false)
	w.until(9, "")
	if second := w.identify(s, intentGuilds); second == first {
		t.Error("the session is the old one")
	}
}

// Without MESSAGE_CONTENT only direct messages, own messages and mentions of
// the bot have content; and two connections of one shard both get everything.
func TestIntents(t *testing.T) {
	s := start(t, nil)
	full, bare, dm := dial(t, s, "/gateway?v=10"), dial(t, s, "/gateway?v=9"), dial(t, s, "/gateway?v=10")
	full.identify(s, intentGuilds|intentMessages|intentDirect|intentMessageContent)
	bare.identify(s, intentGuilds|intentMessages|intentDirect)
	dm.identify(s, intentDirect)
	alice := s.As(ExampleAlice)
	plain := func(m Message, err error) Message {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	plain(alice.Post(ExampleGeneral, "secret", File{"f.txt", []byte("x")}))
	plain(alice.Mention(ExampleGeneral, "hello"))
	plain(alice.DM("in private"))
	want := func(name string, w *wire, contents ...string) {
		t.Helper()
		for _, c := range contents {
			var m Message
			if err := json.Unmarshal(w.until(0, "MESSAGE_CREATE").D, &m); err != nil {
				t.Fatal(err)
			}
			if m.Content != c || c == "" && len(m.Attachments) > 0 {
				t.Errorf("%s got %q with %d files, want %q", name, m.Content, len(m.Attachments), c)
			}
		}
	}
	mention := "<@" + s.ApplicationID() + "> hello"
	want("with content", full, "secret", mention, "in private")
	want("without", bare, "", mention, "in private")
	want("direct messages only", dm, "in private")
}

func TestCompression(t *testing.T) {
	s := start(t, nil)
	t.Run("transport", func(t *testing.T) {
		w := dial(t, s, "/gateway?v=10&compress=zlib-stream")
		r, feed := io.Pipe()
		defer feed.Close()
		go func() {
			for {
				kind, b, err := w.ws.ReadMessage()
				if err != nil || kind != websocket.BinaryMessage || !bytes.HasSuffix(b, []byte{0, 0, 0xff, 0xff}) {
					feed.CloseWithError(fmt.Errorf("kind %d, %d bytes: %w", kind, len(b), err))
					return
				}
				if _, err := feed.Write(b); err != nil {
					return
				}
			}
		}()
		z, err := zlib.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(z)
		var f frame
		if err := dec.Decode(&f); err != nil || f.Op != 10 {
			t.Fatalf("%+v, %v; want HELLO", f, err)
		}
		w.send(2, map[string]any{"token": s.Token(), "intents": intentGuilds})
		for _, name := range []string{"READY", "GUILD_CREATE"} {
			if err := dec.Decode(&f); err != nil || f.T != name {
				t.Fatalf("%+v, %v; want %s", f, err, name)
			}
		}
	})
	t.Run("payload", func(t *testing.T) {
		w := dial(t, s, "/gateway?v=10")
		w.send(2, map[string]any{"token": s.Token(), "intents": intentGuilds, "compress": true})
		w.until(0, "GUILD_CREATE")
	})
}

// A client that sends no heartbeats is cut off; a half-open connection says
// nothing and stays.
func TestZombies(t *testing.T) {
	s := start(t, func(c *Config) { c.Heartbeat = 200 * time.Millisecond })
	w := dial(t, s, "/gateway?v=10")
	if _, _, err := w.ws.ReadMessage(); err != nil { // HELLO
		t.Fatal(err)
	}
	if _, _, err := w.ws.ReadMessage(); err == nil {
		t.Error("a silent client got something")
	} else if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
		t.Error("a silent client was kept")
	}

	s = start(t, nil) // as patient as one that has not beaten yet needs it
	half := dial(t, s, "/gateway?v=10")
	half.identify(s, intentGuilds)
	half.until(0, "GUILD_CREATE")
	s.HalfOpen()
	half.send(1, 1)
	half.ws.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, b, err := half.ws.ReadMessage(); err == nil {
		t.Errorf("a half-open connection said %s", b)
	}
}

func TestIdentifyLimits(t *testing.T) {
	s := start(t, func(c *Config) { c.RateScale = 1 })
	dial(t, s, "/gateway?v=10").identify(s, 0)
	w := dial(t, s, "/gateway?v=10")
	w.send(2, map[string]any{"token": s.Token(), "intents": 0})
	if f := w.until(9, ""); string(f.D) != "false" {
		t.Errorf("a second IDENTIFY at once: %s, want false", f.D)
	}
	s.Advance(6 * time.Second)
	w.identify(s, 0)
	_, out := api(t, s, "GET", "/gateway/bot", "")
	if left := out["session_start_limit"].(map[string]any)["remaining"]; left != 998.0 {
		t.Errorf("%v identifies left, want 998", left)
	}

	talker := dial(t, s, "/gateway?v=10")
	for range 121 {
		talker.send(1, nil)
	}
	if got := talker.closed(); got != 4008 {
		t.Errorf("121 payloads in a minute: %d, want 4008", got)
	}
}

func TestShards(t *testing.T) {
	s := start(t, nil)
	zero, one := dial(t, s, "/gateway?v=10"), dial(t, s, "/gateway?v=10")
	var guilds [2]int
	for i, w := range []*wire{zero, one} {
		w.send(2, map[string]any{"token": s.Token(), "intents": intentGuilds, "shard": []int{i, 2}})
		var ready struct{ Guilds []any }
		if err := json.Unmarshal(w.until(0, "READY").D, &ready); err != nil {
			t.Fatal(err)
		}
		guilds[i] = len(ready.Guilds)
	}
	if guilds[0]+guilds[1] != 1 {
		t.Errorf("guilds by shard %v, want one in all", guilds)
	}
}
