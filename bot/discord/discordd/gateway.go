package discordd

import (
	"bytes"
	"compress/zlib"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Intents that matter here.
const (
	intentGuilds         = 1 << 0
	intentMembers        = 1 << 1 // privileged
	intentPresences      = 1 << 8 // privileged
	intentMessages       = 1 << 9
	intentReactions      = 1 << 10
	intentDirect         = 1 << 12
	intentDirectReact    = 1 << 13
	intentMessageContent = 1 << 15 // privileged

	intentPrivileged = intentMembers | intentPresences | intentMessageContent
	intentAll        = 1<<26 - 1
)

// Close codes of the gateway, as documented.
const (
	CloseUnknownOpcode  = 4001
	CloseDecode         = 4002
	CloseNotIdentified  = 4003
	CloseAuthentication = 4004
	CloseAlready        = 4005
	CloseInvalidSeq     = 4007
	CloseRateLimited    = 4008
	CloseTimedOut       = 4009
	CloseInvalidShard   = 4010
	CloseInvalidVersion = 4012
	CloseInvalidIntents = 4013
	CloseDisallowed     = 4014
)

const (
	gatewayPayload  = 4096 // bytes of one payload from the client
	gatewaySends    = 120  // payloads from the client per minute
	identifiesDaily = 1000
	replayEvents    = 2000 // events kept for RESUME [a guess]
	identifyEvery   = 5 * time.Second
)

// session outlives its connections: it holds the events for RESUME.
type session struct {
	id      string
	intents int
	shard   [2]int
	base    int      // sequence number before events[0]
	events  []string // encoded payloads, in order of their sequence numbers
	conn    *conn    // nil between connections
	left    time.Time
	dead    bool
}

// last is the highest sequence number.
func (x *session) last() int { return x.base + len(x.events) }

// conn is one WebSocket.
type conn struct {
	s       *Server
	ws      *websocket.Conn
	version int
	zip     *zlibStream // nil without compress=zlib-stream
	resumed bool        // connected to the resume address

	// Guarded by s.mu.
	session *session
	cursor  int // sequence number sent last
	control []string
	silent  bool // half open: nothing is written any more
	packed  bool // IDENTIFY asked for compressed payloads
	closing int
	sends   []time.Time
	beats   int

	kick chan struct{}
	once sync.Once
	gone chan struct{}
}

// zlibStream is the transport compression: one stream over the whole
// connection, flushed after each payload.
type zlibStream struct {
	buf bytes.Buffer
	w   *zlib.Writer
}

func (z *zlibStream) pack(payload string) ([]byte, error) {
	z.buf.Reset()
	if _, err := z.w.Write([]byte(payload)); err != nil {
		return nil, err
	}
	if err := z.w.Flush(); err != nil {
		return nil, err
	}
	return bytes.Clone(z.buf.Bytes()), nil
}

var upgrader = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}

func (s *Server) gatewayURL(path string) string { return "ws://" + s.addr + path }

// serveGateway runs one connection until it ends.
func (s *Server) serveGateway(w http.ResponseWriter, r *http.Request) {
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	c := &conn{s: s, ws: ws, kick: make(chan struct{}, 1), gone: make(chan struct{}), resumed: strings.HasPrefix(r.URL.Path, "/resume")}
	c.version = 8
	if v := r.URL.Query().Get("v"); v != "" {
		c.version, _ = strconv.Atoi(v) // not a number is not a version either
	}
	if r.URL.Query().Get("compress") == "zlib-stream" {
		c.zip = &zlibStream{}
		c.zip.w = zlib.NewWriter(&c.zip.buf)
	}
	s.mu.Lock()
	select {
	case <-s.ctx.Done():
		s.mu.Unlock()
		ws.Close()
		return
	default:
	}
	s.conns[c] = true
	s.tasks.Add(2)
	s.mu.Unlock()
	go func() { defer s.tasks.Done(); c.write() }()
	defer s.tasks.Done()
	c.read()
	c.end()
	s.mu.Lock()
	delete(s.conns, c)
	if x := c.session; x != nil && x.conn == c {
		x.conn, x.left = nil, s.now()
	}
	s.notify()
	s.mu.Unlock()
}

// end stops both halves of a connection.
func (c *conn) end() {
	c.once.Do(func() { close(c.gone) })
	c.ws.Close()
}

// wakeUp tells the writer that there is something to send.
func (c *conn) wakeUp() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// write sends control payloads and the session's events in order.
func (c *conn) write() {
	for {
		c.s.mu.Lock()
		out := ""
		code := 0
		packed := c.packed
		switch {
		case c.silent:
		case len(c.control) > 0:
			out, c.control = c.control[0], c.control[1:]
		case c.closing != 0:
			code = c.closing
		case c.session != nil && c.session.conn == c && c.cursor < c.session.last():
			out = c.session.events[c.cursor-c.session.base]
			c.cursor++
		}
		c.s.mu.Unlock()
		switch {
		case code != 0:
			c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(time.Second))
			// The client answers with a close frame of its own; wait for it,
			// but not for ever.
			c.ws.SetReadDeadline(time.Now().Add(2 * time.Second))
			return
		case out != "":
			if err := c.send(out, packed); err != nil {
				c.end()
				return
			}
		default:
			select {
			case <-c.kick:
			case <-c.gone:
				return
			}
		}
	}
}

func (c *conn) send(payload string, packed bool) error {
	c.ws.SetWriteDeadline(time.Now().Add(10 * time.Second))
	switch {
	case c.zip != nil:
		b, err := c.zip.pack(payload)
		if err != nil {
			return err
		}
		return c.ws.WriteMessage(websocket.BinaryMessage, b)
	case packed && len(payload) > 1024: // Discord packs what is worth it
		var b bytes.Buffer
		z := zlib.NewWriter(&b)
		if _, err := z.Write([]byte(payload)); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		return c.ws.WriteMessage(websocket.BinaryMessage, b.Bytes())
	}
	return c.ws.WriteMessage(websocket.TextMessage, []byte(payload))
}

// op queues a payload that is not an event. The caller holds mu.
func (c *conn) op(code int, d any) {
	c.control = append(c.control, encode(map[string]any{"op": code, "d": d, "s": nil, "t": nil}))
	c.wakeUp()
}

// shut closes with a code after what is queued. The caller holds mu.
func (c *conn) shut(code int) {
	if c.closing == 0 {
		c.closing = code
	}
	c.wakeUp()
}

type gatewayIn struct {
	Op int             `json:"op"`
	D  json.RawMessage `json:"d"`
}

// read handles what the client sends.
func (c *conn) read() {
	s := c.s
	beat := s.cfg.Heartbeat
	s.mu.Lock()
	switch c.version {
	case 9, 10:
		c.op(10, map[string]any{"heartbeat_interval": beat.Milliseconds(), "_trace": []string{"discordd"}})
	default:
		c.shut(CloseInvalidVersion)
	}
	s.mu.Unlock()
	// A silent connection is a zombie. Half open ones stay, that is their point.
	alive := func() { c.ws.SetReadDeadline(time.Now().Add(beat + beat/2)) }
	alive()
	for {
		_, b, err := c.ws.ReadMessage()
		if err != nil {
			var closed *websocket.CloseError
			s.mu.Lock()
			// 1000 and 1001 end the session: it cannot be resumed.
			if errors.As(err, &closed) && c.session != nil && (closed.Code == websocket.CloseNormalClosure || closed.Code == websocket.CloseGoingAway) {
				c.session.dead = true
			}
			s.mu.Unlock()
			return
		}
		var in gatewayIn
		s.mu.Lock()
		switch {
		case c.silent:
			// Half open: the network took it, nobody reads it.
			s.mu.Unlock()
			continue
		case len(b) > gatewayPayload, json.Unmarshal(b, &in) != nil:
			c.shut(CloseDecode)
		case !c.mayStillSend():
			c.shut(CloseRateLimited)
		default:
			alive()
			c.handle(in)
		}
		s.mu.Unlock()
	}
}

// mayStillSend keeps the client to 120 payloads a minute. The caller holds mu.
func (c *conn) mayStillSend() bool {
	if c.s.cfg.RateScale <= 0 {
		return true
	}
	now := c.s.now()
	keep := c.sends[:0]
	for _, t := range c.sends {
		if now.Sub(t) < time.Minute {
			keep = append(keep, t)
		}
	}
	c.sends = append(keep, now)
	return len(c.sends) <= gatewaySends
}

// handle acts on one payload. The caller holds mu.
func (c *conn) handle(in gatewayIn) {
	switch in.Op {
	case 1: // heartbeat
		c.beats++
		c.op(11, nil)
		c.s.notify()
	case 2:
		c.identify(in.D)
	case 6:
		c.resume(in.D)
	case 3, 4: // presence and voice state
		if c.session == nil {
			c.shut(CloseNotIdentified)
		}
	case 8:
		c.requestMembers(in.D)
	default:
		c.shut(CloseUnknownOpcode)
	}
}

func (c *conn) identify(d json.RawMessage) {
	s := c.s
	var id struct {
		Token    string  `json:"token"`
		Intents  *int    `json:"intents"`
		Shard    *[2]int `json:"shard"`
		Compress bool    `json:"compress"`
	}
	switch {
	case json.Unmarshal(d, &id) != nil:
		c.shut(CloseDecode)
		return
	case c.session != nil:
		c.shut(CloseAlready)
		return
	case strings.TrimPrefix(id.Token, "Bot ") != s.token:
		c.shut(CloseAuthentication)
		return
	case id.Intents == nil || *id.Intents < 0 || *id.Intents > intentAll:
		c.shut(CloseInvalidIntents)
		return
	}
	allowed := intentPrivileged
	if s.cfg.Privileged != nil {
		allowed = *s.cfg.Privileged
	}
	if *id.Intents&intentPrivileged&^allowed != 0 {
		c.shut(CloseDisallowed)
		return
	}
	shard := [2]int{0, 1}
	if id.Shard != nil {
		shard = *id.Shard
	}
	if shard[1] < 1 || shard[0] < 0 || shard[0] >= shard[1] {
		c.shut(CloseInvalidShard)
		return
	}
	if last := s.identifyAt; !last.IsZero() && s.cfg.RateScale > 0 && s.now().Sub(last) < time.Duration(float64(identifyEvery)*s.cfg.RateScale) {
		c.op(9, false)
		return
	}
	s.identifyAt = s.now()
	if s.identified++; s.identified > identifiesDaily {
		c.shut(CloseAuthentication) // Discord resets the token
		return
	}
	x := &session{id: randomHex(16), intents: *id.Intents, shard: shard, conn: c}
	s.sessions[x.id] = x
	c.session, c.cursor, c.packed = x, 0, id.Compress
	var guilds []map[string]any
	for _, g := range s.order {
		if x.has(g) {
			guilds = append(guilds, map[string]any{"id": g, "unavailable": true})
		}
	}
	if guilds == nil {
		guilds = []map[string]any{}
	}
	ready := map[string]any{
		"v": c.version, "user": s.bot, "guilds": guilds, "session_id": x.id,
		"resume_gateway_url": s.gatewayURL("/resume"), "session_type": "normal",
		"application":      map[string]any{"id": s.bot.ID, "flags": s.applicationFlags()},
		"private_channels": []any{}, "relationships": []any{}, "presences": []any{}, "user_settings": map[string]any{},
		"geo_ordered_rtc_regions": []any{}, "_trace": []string{"discordd"},
	}
	if id.Shard != nil {
		ready["shard"] = shard
	}
	s.enqueue(x, "READY", ready)
	if x.intents&intentGuilds != 0 {
		for _, g := range s.order {
			if x.has(g) {
				s.enqueue(x, "GUILD_CREATE", s.guildCreate(s.guilds[g]))
			}
		}
	}
	s.cfg.Logf("gateway: session %s, shard %d of %d", x.id[:8], shard[0], shard[1])
	s.notify()
}

func (c *conn) resume(d json.RawMessage) {
	s := c.s
	var want struct {
		Token   string `json:"token"`
		Session string `json:"session_id"`
		Seq     int    `json:"seq"`
	}
	switch {
	case json.Unmarshal(d, &want) != nil:
		c.shut(CloseDecode)
		return
	case c.session != nil:
		c.shut(CloseAlready)
		return
	case strings.TrimPrefix(want.Token, "Bot ") != s.token:
		c.shut(CloseAuthentication)
		return
	}
	x := s.sessions[want.Session]
	switch {
	case x == nil || x.dead:
		c.op(9, false)
		return
	case x.conn == nil && s.now().Sub(x.left) > s.cfg.SessionLife:
		x.dead = true
		c.shut(CloseTimedOut)
		return
	case want.Seq > x.last():
		c.shut(CloseInvalidSeq)
		return
	case want.Seq < x.base: // too far back to replay
		x.dead = true
		c.op(9, false)
		return
	}
	if x.conn != nil && x.conn != c { // a session has one connection
		x.conn.shut(CloseTimedOut)
	}
	from := max(want.Seq-s.rewind, x.base)
	s.rewind = 0
	x.conn, c.session, c.cursor = c, x, from
	s.cfg.Logf("gateway: session %s resumed after %d, %d events replayed", x.id[:8], from, x.last()-from)
	s.enqueue(x, "RESUMED", map[string]any{"_trace": []string{"discordd"}})
	s.notify()
}

func (c *conn) requestMembers(d json.RawMessage) {
	s := c.s
	if c.session == nil {
		c.shut(CloseNotIdentified)
		return
	}
	var req struct {
		Guild string   `json:"guild_id"`
		Users []string `json:"user_ids"`
		Nonce string   `json:"nonce"`
	}
	var one struct {
		Users string `json:"user_ids"`
	}
	if json.Unmarshal(d, &req) != nil && json.Unmarshal(d, &one) == nil && one.Users != "" {
		req.Users = []string{one.Users}
	}
	g := s.guilds[req.Guild]
	if g == nil {
		return
	}
	members, missing := []*Member{}, []string{}
	if len(req.Users) == 0 {
		for _, m := range g.members {
			members = append(members, m)
		}
	}
	for _, id := range req.Users {
		if m := g.members[id]; m != nil {
			members = append(members, m)
		} else {
			missing = append(missing, id)
		}
	}
	s.enqueue(c.session, "GUILD_MEMBERS_CHUNK", map[string]any{
		"guild_id": g.ID, "members": members, "chunk_index": 0, "chunk_count": 1, "not_found": missing, "nonce": req.Nonce,
	})
}

// has says whether the session's shard serves a guild; "" is direct messages.
func (x *session) has(guildID string) bool {
	id, err := strconv.ParseUint(guildID, 10, 64)
	if err != nil {
		return x.shard[0] == 0
	}
	return int(id>>22%uint64(x.shard[1])) == x.shard[0]
}

// enqueue gives a session its next event. The caller holds mu.
func (s *Server) enqueue(x *session, name string, d any) {
	if x.dead {
		return
	}
	x.events = append(x.events, encode(map[string]any{"op": 0, "t": name, "s": x.last() + 1, "d": d}))
	if over := len(x.events) - replayEvents; over > 0 && (x.conn == nil || x.conn.cursor >= x.base+over) {
		x.events, x.base = append([]string(nil), x.events[over:]...), x.base+over
	}
	if x.conn != nil {
		x.conn.wakeUp()
	}
}

// dispatch sends an event to every session of the guild's shard that has one
// of the intents (0: whatever its intents). make returns the body for a
// session. The caller holds mu.
func (s *Server) dispatch(name, guildID string, intent int, body func(*session) any) {
	for _, x := range s.sessions {
		if x.has(guildID) && (intent == 0 || x.intents&intent != 0) {
			s.enqueue(x, name, body(x))
		}
	}
}

// dispatchChannel sends an event of a channel that the bot can see.
func (s *Server) dispatchChannel(name, channel string, intent int, body any) {
	c := s.channels[channel]
	if c == nil || s.permissions(s.bot.ID, c)&PermViewChannel == 0 {
		return
	}
	if c.Type == ChannelDM {
		switch intent {
		case intentMessages:
			intent = intentDirect
		case intentReactions:
			intent = intentDirectReact
		}
	}
	s.dispatch(name, c.GuildID, intent, func(*session) any { return body })
}

// dispatchMessage sends a message, blank for sessions that may not read it:
// without MESSAGE_CONTENT only direct messages, own messages and messages that
// mention the bot have content.
func (s *Server) dispatchMessage(name string, m Message) {
	c := s.channels[m.ChannelID]
	if s.permissions(s.bot.ID, c)&PermViewChannel == 0 {
		return
	}
	intent := intentMessages
	if c.Type == ChannelDM {
		intent = intentDirect
	}
	m = s.member(m)
	blank := s.blank(m)
	s.dispatch(name, c.GuildID, intent, func(x *session) any {
		if x.intents&intentMessageContent != 0 {
			return m
		}
		return blank
	})
}

// member adds what only gateway events carry: the kind of channel and the
// author's membership.
func (s *Server) member(m Message) Message {
	m.ChannelType = ptr(s.channels[m.ChannelID].Type)
	if g := s.guilds[m.GuildID]; g != nil && m.WebhookID == "" {
		if mem := g.members[m.Author.ID]; mem != nil {
			short := *mem
			short.User = nil
			m.Member = &short
		}
	}
	return m
}

func (s *Server) blank(m Message) Message {
	readable := func(m Message) bool {
		if m.GuildID == "" || m.Author.ID == s.bot.ID {
			return true
		}
		for _, u := range m.Mentions {
			if u.ID == s.bot.ID {
				return true
			}
		}
		return false
	}
	if !readable(m) {
		m.Content, m.Embeds, m.Attachments, m.Components = "", []Embed{}, []Attachment{}, []Component{}
	}
	if r := m.Referenced; r != nil && !readable(*r) {
		bare := *r
		bare.Content, bare.Embeds, bare.Attachments, bare.Components = "", []Embed{}, []Attachment{}, []Component{}
		m.Referenced = &bare
	}
	return m
}

func (s *Server) guildCreate(g *guild) map[string]any {
	out := s.guildObject(g)
	var threads []*Channel
	for _, c := range s.channels {
		if c.GuildID == g.ID && c.IsThread() && !c.Deleted && !c.Thread.Archived {
			threads = append(threads, c)
		}
	}
	members := []*Member{g.members[s.bot.ID]}
	for id, m := range g.members {
		if id != s.bot.ID {
			members = append(members, m)
		}
	}
	if threads == nil {
		threads = []*Channel{}
	}
	out["joined_at"], out["large"], out["unavailable"] = g.joined, false, false
	out["member_count"], out["members"] = len(g.members), members
	out["channels"], out["threads"] = g.channels, threads
	for _, empty := range []string{"voice_states", "presences", "stage_instances", "guild_scheduled_events", "soundboard_sounds"} {
		out[empty] = []any{}
	}
	return out
}

func (s *Server) guildObject(g *guild) map[string]any {
	return map[string]any{
		"id": g.ID, "name": g.Name, "icon": nil, "splash": nil, "discovery_splash": nil, "owner_id": g.Owner,
		"afk_channel_id": nil, "afk_timeout": 300, "verification_level": 0, "default_message_notifications": 0,
		"explicit_content_filter": 0, "roles": g.roles, "emojis": []any{}, "stickers": []any{}, "features": []any{}, "mfa_level": 0,
		"application_id": nil, "system_channel_id": nil, "system_channel_flags": 0, "rules_channel_id": nil,
		"vanity_url_code": nil, "description": nil, "banner": nil, "premium_tier": 0, "premium_subscription_count": 0,
		"preferred_locale": "en-US", "public_updates_channel_id": nil, "nsfw_level": 0, "premium_progress_bar_enabled": false,
		"safety_alerts_channel_id": nil,
	}
}

// applicationFlags shows the privileged intents as READY does.
func (s *Server) applicationFlags() int {
	flags, privileged := 0, intentPrivileged
	if s.cfg.Privileged != nil {
		privileged = *s.cfg.Privileged
	}
	if privileged&intentPresences != 0 {
		flags |= 1 << 13
	}
	if privileged&intentMembers != 0 {
		flags |= 1 << 15
	}
	if privileged&intentMessageContent != 0 {
		flags |= 1 << 19
	}
	return flags
}

// encode writes JSON. Everything that is encoded is of this package.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("discordd: encoding: " + err.Error())
	}
	return string(b)
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
