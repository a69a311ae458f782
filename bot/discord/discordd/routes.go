package discordd

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (s *Server) getGateway(*call) (int, any, *apiError) {
	return http.StatusOK, map[string]any{"url": s.gatewayURL("/gateway")}, nil
}

func (s *Server) getGatewayBot(*call) (int, any, *apiError) {
	return http.StatusOK, map[string]any{
		"url": s.gatewayURL("/gateway"), "shards": 1,
		"session_start_limit": map[string]any{
			"total": identifiesDaily, "remaining": max(identifiesDaily-s.identified, 0), "reset_after": 86400000, "max_concurrency": 1,
		},
	}, nil
}

func (s *Server) getMe(*call) (int, any, *apiError) { return http.StatusOK, s.bot, nil }

func (s *Server) getMyGuilds(*call) (int, any, *apiError) {
	out := []map[string]any{}
	for _, id := range s.order {
		out = append(out, map[string]any{"id": id, "name": s.guilds[id].Name, "icon": nil, "owner": false, "permissions": "0", "features": []any{}})
	}
	return http.StatusOK, out, nil
}

func (s *Server) getUser(c *call) (int, any, *apiError) {
	if u := s.users[c.path("user")]; u != nil {
		return http.StatusOK, u, nil
	}
	return 0, nil, errUnknownUser
}

func (s *Server) getApplication(*call) (int, any, *apiError) {
	return http.StatusOK, map[string]any{
		"id": s.bot.ID, "name": s.cfg.BotName, "icon": nil, "description": "", "bot_public": false, "bot_require_code_grant": false,
		"verify_key": encodeHex(s.PublicKey()), "flags": s.applicationFlags(), "bot": s.bot, "team": nil, "hook": true,
		"interactions_endpoint_url": s.interURL, "approximate_guild_count": len(s.guilds),
	}, nil
}

func (s *Server) createDM(c *call) (int, any, *apiError) {
	var body struct {
		Recipient string `json:"recipient_id"`
	}
	if err := decode(c.body, &body); err != nil {
		return 0, nil, err
	}
	u := s.users[body.Recipient]
	if u == nil || u.ID == s.bot.ID {
		return 0, nil, fail(http.StatusBadRequest, 50033, "Invalid Recipient(s)")
	}
	return http.StatusOK, s.dm(u), nil
}

// dm is the direct channel between the bot and a user, made when needed.
func (s *Server) dm(u *User) *Channel {
	for _, c := range s.channels {
		if c.Type == ChannelDM && c.Recipients[0].ID == u.ID {
			return c
		}
	}
	c := &Channel{ID: s.newID(), Type: ChannelDM, Recipients: []User{*u}}
	s.channels[c.ID] = c
	s.changed(Change{Kind: "channel_create", Channel: c.ID})
	return c
}

func (s *Server) guildOf(c *call) (*guild, *apiError) {
	if g := s.guilds[c.path("guild")]; g != nil {
		return g, nil
	}
	return nil, errUnknownGuild
}

func (s *Server) getGuild(c *call) (int, any, *apiError) {
	g, err := s.guildOf(c)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, s.guildObject(g), nil
}

func (s *Server) getGuildChannels(c *call) (int, any, *apiError) {
	g, err := s.guildOf(c)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, g.channels, nil
}

func (s *Server) getRoles(c *call) (int, any, *apiError) {
	g, err := s.guildOf(c)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, g.roles, nil
}

// getMembers lists members, for which Discord demands the privileged intent.
func (s *Server) getMembers(c *call) (int, any, *apiError) {
	g, err := s.guildOf(c)
	if err != nil {
		return 0, nil, err
	}
	if s.cfg.Privileged != nil && *s.cfg.Privileged&intentMembers == 0 {
		return 0, nil, errMissingAccess
	}
	f := &form{}
	limit := number(f, c, "limit", 1, 1, 1000)
	if err := f.err(); err != nil {
		return 0, nil, err
	}
	after := c.r.URL.Query().Get("after")
	members := []*Member{}
	for id, m := range g.members {
		if later(id, after) {
			members = append(members, m)
		}
	}
	slices.SortFunc(members, func(a, b *Member) int { return order(a.User.ID, b.User.ID) })
	return http.StatusOK, members[:min(limit, len(members))], nil
}

func (s *Server) getMember(c *call) (int, any, *apiError) {
	g, err := s.guildOf(c)
	if err != nil {
		return 0, nil, err
	}
	if m := g.members[c.path("user")]; m != nil {
		return http.StatusOK, m, nil
	}
	if s.users[c.path("user")] == nil {
		return 0, nil, errUnknownUser
	}
	return 0, nil, errUnknownMember
}

func (s *Server) getActiveThreads(c *call) (int, any, *apiError) {
	g, err := s.guildOf(c)
	if err != nil {
		return 0, nil, err
	}
	threads := []*Channel{}
	for _, t := range s.channels {
		if t.GuildID == g.ID && t.IsThread() && !t.Deleted && !t.Thread.Archived {
			threads = append(threads, t)
		}
	}
	return http.StatusOK, map[string]any{"threads": threads, "members": []any{}}, nil
}

// order compares snowflakes; later says whether a comes after b.
func order(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func later(a, b string) bool { return order(a, b) > 0 }

func number(f *form, c *call, name string, def, lo, hi int) int {
	v := c.r.URL.Query().Get(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < lo || n > hi {
		f.add(name, "NUMBER_TYPE_COERCE", "int value should be between %d and %d.", lo, hi)
	}
	return n
}

// visible finds a channel that the bot can see and has some permissions in.
func (s *Server) visible(c *call, need Perm) (*Channel, *apiError) {
	ch := s.channels[c.path("channel")]
	if ch == nil || ch.Deleted {
		return nil, errUnknownChannel
	}
	have := s.permissions(s.bot.ID, ch)
	if have&PermViewChannel == 0 {
		return nil, errMissingAccess
	}
	if have&need != need {
		return nil, errMissingPerms
	}
	return ch, nil
}

// found finds a message of the channel that the bot's token can reach:
// ephemeral ones exist only for their interaction's token.
func (s *Server) found(c *call, need Perm) (*Channel, *stored, *apiError) {
	ch, err := s.visible(c, need)
	if err != nil {
		return nil, nil, err
	}
	st := s.messages[c.path("message")]
	if st == nil || st.Deleted || st.ChannelID != ch.ID || st.VisibleTo != "" {
		return nil, nil, errUnknownMessage
	}
	return ch, st, nil
}

func (s *Server) getChannel(c *call) (int, any, *apiError) {
	ch, err := s.visible(c, 0)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, ch, nil
}

func (s *Server) typing(c *call) (int, any, *apiError) {
	ch, err := s.visible(c, 0)
	if err != nil {
		return 0, nil, err
	}
	s.changed(Change{Kind: "typing", Channel: ch.ID})
	return http.StatusNoContent, nil, nil
}

func (s *Server) getMessages(c *call) (int, any, *apiError) {
	ch, err := s.visible(c, 0)
	if err != nil {
		return 0, nil, err
	}
	f := &form{}
	limit := number(f, c, "limit", 50, 1, 100)
	if err := f.err(); err != nil {
		return 0, nil, err
	}
	q := c.r.URL.Query()
	var list []Message
	if s.permissions(s.bot.ID, ch)&PermReadHistory != 0 {
		for _, id := range s.timeline[ch.ID] {
			if st := s.messages[id]; st.VisibleTo == "" {
				list = append(list, st.Message)
			}
		}
	}
	out := []Message{}
	switch {
	case q.Get("after") != "":
		list = slices.DeleteFunc(list, func(m Message) bool { return !later(m.ID, q.Get("after")) })
		list = list[:min(limit, len(list))]
	case q.Get("around") != "":
		at, _ := slices.BinarySearchFunc(list, q.Get("around"), func(m Message, id string) int { return order(m.ID, id) })
		list = list[max(at-limit/2, 0):min(at+(limit+1)/2, len(list))]
	default:
		if b := q.Get("before"); b != "" {
			list = slices.DeleteFunc(list, func(m Message) bool { return !later(b, m.ID) })
		}
		list = list[max(len(list)-limit, 0):]
	}
	for _, m := range slices.Backward(list) {
		out = append(out, s.readable(m))
	}
	return http.StatusOK, out, nil
}

// readable is a message as REST gives it: blank like the gateway's when the
// application lacks MESSAGE_CONTENT.
func (s *Server) readable(m Message) Message {
	m.Member, m.GuildID = nil, ""
	if s.cfg.Privileged != nil && *s.cfg.Privileged&intentMessageContent == 0 {
		if st := s.messages[m.ID]; st != nil {
			m.GuildID = st.GuildID
			m = s.blank(m)
			m.GuildID = ""
		}
	}
	return m
}

func (s *Server) getMessage(c *call) (int, any, *apiError) {
	_, st, err := s.found(c, PermReadHistory)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, s.readable(st.Message), nil
}

// maySend checks what sending into a channel takes, and opens an archived
// thread that is not locked, as every send does.
func (s *Server) maySend(userID string, ch *Channel) *apiError {
	have := s.permissions(userID, ch)
	if have&PermViewChannel == 0 {
		return errMissingAccess
	}
	if ch.IsThread() {
		if have&PermSendInThreads == 0 {
			return errMissingPerms
		}
		if ch.Thread.Locked && have&PermManageThreads == 0 {
			if ch.Thread.Archived {
				return errArchived
			}
			return errThreadLocked
		}
		return nil
	}
	if have&PermSendMessages == 0 {
		return errMissingPerms
	}
	if ch.Type == ChannelDM && userID == s.bot.ID {
		u := s.users[ch.Recipients[0].ID]
		shared := false
		for _, g := range s.guilds {
			shared = shared || g.members[u.ID] != nil
		}
		if u.NoDMs || u.Bot || !shared {
			return errNoDM
		}
	}
	return nil
}

// reopen unarchives a thread into which something is sent.
func (s *Server) reopen(ch *Channel) {
	if ch.IsThread() && ch.Thread.Archived {
		ch.Thread.Archived = false
		ch.Thread.ArchivedAt = s.now()
		s.threadChanged(ch)
	}
}

func (s *Server) threadChanged(ch *Channel) {
	s.dispatchChannel("THREAD_UPDATE", ch.ID, intentGuilds, *ch)
	s.changed(Change{Kind: "thread_update", Channel: ch.ID})
}

func (s *Server) createMessage(c *call) (int, any, *apiError) {
	ch, err := s.visible(c, 0)
	if err != nil {
		return 0, nil, err
	}
	if err := s.maySend(s.bot.ID, ch); err != nil {
		return 0, nil, err
	}
	var b messageBody
	if err := decode(c.body, &b); err != nil {
		return 0, nil, err
	}
	b.files = c.files
	if len(b.files) > 0 && s.permissions(s.bot.ID, ch)&PermAttachFiles == 0 {
		return 0, nil, errMissingPerms
	}
	if b.Enforce && b.Nonce != nil {
		if st := s.nonce(s.bot.ID, ch.ID, b.Nonce); st != nil {
			return http.StatusOK, s.readable(st.Message), nil
		}
	}
	m := Message{ChannelID: ch.ID, GuildID: ch.GuildID, Author: s.bot}
	if err := s.refer(&m, b.Reference, s.bot.ID); err != nil {
		return 0, nil, err
	}
	if err := s.apply(&m, &b, createFlags, false); err != nil {
		return 0, nil, err
	}
	s.reopen(ch)
	st := s.post(m, nil)
	if b.Enforce && b.Nonce != nil {
		s.nonces[nonceKey(s.bot.ID, ch.ID, b.Nonce)] = nonceEntry{message: st.ID, at: s.now()}
	}
	return http.StatusOK, s.readable(st.Message), nil
}

// refer makes a message a reply.
func (s *Server) refer(m *Message, ref *MessageReference, author string) *apiError {
	if ref == nil {
		return nil
	}
	st := s.messages[ref.MessageID]
	if st == nil || st.Deleted || st.ChannelID != m.ChannelID || st.VisibleTo != "" && st.VisibleTo != author {
		if ref.FailIfNotExists != nil && !*ref.FailIfNotExists {
			return nil
		}
		f := &form{}
		f.add("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
		return f.err()
	}
	if s.permissions(author, s.channels[m.ChannelID])&PermReadHistory == 0 {
		return fail(http.StatusBadRequest, 160002, "Cannot reply without permission to read message history")
	}
	m.Type = MessageReply
	m.Reference = &MessageReference{MessageID: st.ID, ChannelID: st.ChannelID, GuildID: st.GuildID}
	quoted := st.Message
	quoted.Referenced = nil
	m.Referenced = &quoted
	return nil
}

func (s *Server) editMessage(c *call) (int, any, *apiError) {
	ch, st, err := s.found(c, 0)
	if err != nil {
		return 0, nil, err
	}
	if st.Author.ID != s.bot.ID {
		return 0, nil, errNotAuthor
	}
	if ch.IsThread() && ch.Thread.Archived {
		return 0, nil, errArchived
	}
	var b messageBody
	if err := decode(c.body, &b); err != nil {
		return 0, nil, err
	}
	b.files = c.files
	if s.now().Sub(st.Timestamp) > time.Hour {
		recent := slices.DeleteFunc(s.oldEdits[ch.ID], func(t time.Time) bool { return s.now().Sub(t) > time.Hour })
		if len(recent) >= s.cfg.OldEdits {
			s.oldEdits[ch.ID] = recent
			return 0, nil, errOldEdits
		}
		s.oldEdits[ch.ID] = append(recent, s.now())
	}
	m := st.Message
	if err := s.apply(&m, &b, editFlags, true); err != nil {
		return 0, nil, err
	}
	s.revise(st, m, true)
	return http.StatusOK, s.readable(st.Message), nil
}

func (s *Server) deleteMessage(c *call) (int, any, *apiError) {
	ch, st, err := s.found(c, 0)
	if err != nil {
		return 0, nil, err
	}
	if st.Author.ID != s.bot.ID && s.permissions(s.bot.ID, ch)&PermManageMessages == 0 {
		return 0, nil, errMissingPerms
	}
	if ch.IsThread() && ch.Thread.Archived {
		return 0, nil, errArchived
	}
	s.remove(st)
	return http.StatusNoContent, nil, nil
}

func (s *Server) addReaction(c *call) (int, any, *apiError) {
	ch, st, err := s.found(c, PermReadHistory)
	if err != nil {
		return 0, nil, err
	}
	return s.react(ch, st, s.bot.ID, c.path("emoji"), true)
}

func (s *Server) removeReaction(c *call) (int, any, *apiError) {
	ch, st, err := s.found(c, PermReadHistory)
	if err != nil {
		return 0, nil, err
	}
	return s.react(ch, st, s.bot.ID, c.path("emoji"), false)
}

func (s *Server) react(ch *Channel, st *stored, userID, emoji string, add bool) (int, any, *apiError) {
	if ch.IsThread() && ch.Thread.Archived {
		return 0, nil, errArchived
	}
	if decoded, err := url.PathUnescape(emoji); err == nil {
		emoji = decoded
	}
	e := Emoji{Name: emoji}
	if name, id, custom := strings.Cut(emoji, ":"); custom {
		e = Emoji{Name: name, ID: id}
	} else if len(emoji) < 2 || emoji[0] < 0x80 && emoji[1] < 0x80 {
		return 0, nil, errUnknownEmoji
	}
	at := slices.IndexFunc(st.Reactions, func(r Reaction) bool { return r.Emoji == e })
	if add && at < 0 && s.permissions(userID, ch)&PermAddReactions == 0 {
		return 0, nil, errMissingPerms
	}
	list := slices.Clone(st.Reactions)
	name := "MESSAGE_REACTION_ADD"
	switch {
	case add && at < 0:
		list = append(list, Reaction{Emoji: e, Count: 1, Users: []string{userID}})
	case add && slices.Contains(list[at].Users, userID), !add && (at < 0 || !slices.Contains(list[at].Users, userID)):
		return http.StatusNoContent, nil, nil
	case add:
		list[at].Users = append(slices.Clone(list[at].Users), userID)
	default:
		name = "MESSAGE_REACTION_REMOVE"
		list[at].Users = slices.DeleteFunc(slices.Clone(list[at].Users), func(id string) bool { return id == userID })
	}
	for i := range list {
		list[i].Count, list[i].Me = len(list[i].Users), slices.Contains(list[i].Users, s.bot.ID)
	}
	st.Reactions = slices.DeleteFunc(list, func(r Reaction) bool { return r.Count == 0 })
	s.dispatchChannel(name, ch.ID, intentReactions, map[string]any{
		"user_id": userID, "channel_id": ch.ID, "message_id": st.ID, "guild_id": ch.GuildID, "emoji": map[string]any{"id": nil, "name": e.Name}, "type": 0, "burst": false,
	})
	s.changed(Change{Kind: "message_update", Channel: ch.ID, Message: ptr(st.Message)})
	return http.StatusNoContent, nil, nil
}

var autoArchives = []int{60, 1440, 4320, 10080} // minutes

func (s *Server) startThread(c *call) (int, any, *apiError) {
	ch, err := s.visible(c, 0)
	if err != nil {
		return 0, nil, err
	}
	var b struct {
		Name      string   `json:"name"`
		Auto      *int     `json:"auto_archive_duration"`
		Type      opt[int] `json:"type"`
		Invitable *bool    `json:"invitable"`
		Slow      opt[int] `json:"rate_limit_per_user"`
	}
	if err := decode(c.body, &b); err != nil {
		return 0, nil, err
	}
	f := &form{}
	f.length("name", b.Name, 1, maxThreadName)
	auto := 4320
	if b.Auto != nil {
		auto = *b.Auto
	}
	if !slices.Contains(autoArchives, auto) {
		f.add("auto_archive_duration", "BASE_TYPE_CHOICES", "Value must be one of (60, 1440, 4320, 10080).")
	}
	kind := ChannelPublicThread
	from := c.path("message")
	if from == "" {
		kind = b.Type.or(ChannelPrivateThread)
		if kind < ChannelAnnounceThr || kind > ChannelPrivateThread {
			f.add("type", "BASE_TYPE_CHOICES", "Value must be one of (10, 11, 12).")
		}
	}
	if err := f.err(); err != nil {
		return 0, nil, err
	}
	need := PermPublicThreads
	if kind == ChannelPrivateThread {
		need = PermPrivateThreads
	}
	if s.permissions(s.bot.ID, ch)&need == 0 {
		return 0, nil, errMissingPerms
	}
	if ch.Type != ChannelText {
		return 0, nil, fail(http.StatusBadRequest, 50024, "Cannot execute action on this channel type")
	}
	t, err := s.thread(ch, s.bot.ID, b.Name, kind, auto, from)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, t, nil
}

// thread starts a thread, from a message when there is one: then the thread
// has the message's id.
func (s *Server) thread(parent *Channel, owner, name string, kind, auto int, from string) (*Channel, *apiError) {
	now := s.now()
	t := &Channel{
		Type: kind, GuildID: parent.GuildID, ParentID: parent.ID, Name: name, OwnerID: owner, MemberCount: 1,
		Thread: &Thread{AutoArchive: auto, ArchivedAt: now, CreatedAt: now},
	}
	var st *stored
	if from != "" {
		st = s.messages[from]
		switch {
		case st == nil || st.Deleted || st.ChannelID != parent.ID || st.VisibleTo != "":
			return nil, errUnknownMessage
		case s.channels[from] != nil:
			return nil, errThreadExists
		case st.Type != MessageDefault && st.Type != MessageReply && st.Type != MessageSlashCommand && st.Type != MessageContextCommand:
			return nil, errSystemMessage
		}
		t.ID = from
	} else {
		t.ID = s.newID()
	}
	s.channels[t.ID] = t
	fresh := *t
	fresh.NewlyCreated = true
	s.dispatchChannel("THREAD_CREATE", t.ID, intentGuilds, fresh)
	s.changed(Change{Kind: "thread_create", Channel: t.ID})
	author := *s.users[owner]
	if st != nil {
		m := st.Message
		m.Flags |= FlagHasThread
		m.Thread = ptr(s.snapshot(t))
		s.revise(st, m, false)
		quoted := st.Message
		s.post(Message{ChannelID: t.ID, GuildID: t.GuildID, Author: author, Type: MessageThreadStarter, Referenced: &quoted,
			Reference: &MessageReference{MessageID: st.ID, ChannelID: parent.ID, GuildID: parent.GuildID},
			Embeds:    []Embed{}, Attachments: []Attachment{}, Components: []Component{}, Mentions: []User{}, MentionRoles: []string{}}, nil)
	} else if kind != ChannelPrivateThread {
		s.post(Message{ChannelID: parent.ID, GuildID: parent.GuildID, Author: author, Type: MessageThreadCreated, Content: name,
			Reference: &MessageReference{ChannelID: t.ID, GuildID: parent.GuildID},
			Embeds:    []Embed{}, Attachments: []Attachment{}, Components: []Component{}, Mentions: []User{}, MentionRoles: []string{}}, nil)
	}
	return t, nil
}

func (s *Server) patchChannel(c *call) (int, any, *apiError) {
	ch, err := s.visible(c, 0)
	if err != nil {
		return 0, nil, err
	}
	var b struct {
		Name     opt[string] `json:"name"`
		Archived opt[bool]   `json:"archived"`
		Locked   opt[bool]   `json:"locked"`
		Auto     opt[int]    `json:"auto_archive_duration"`
		Slow     opt[int]    `json:"rate_limit_per_user"`
	}
	if err := decode(c.body, &b); err != nil {
		return 0, nil, err
	}
	if !ch.IsThread() {
		return 0, nil, errMissingPerms // changing channels takes MANAGE_CHANNELS, which no one here has
	}
	have := s.permissions(s.bot.ID, ch)
	manages := have&PermManageThreads != 0
	opens := b.Archived.value != nil && !*b.Archived.value
	switch {
	case ch.Thread.Archived && !opens:
		return 0, nil, errArchived
	case ch.Thread.Locked && !manages, b.Locked.value != nil && !manages:
		return 0, nil, errMissingPerms
	case !opens && !manages && ch.OwnerID != s.bot.ID:
		return 0, nil, errMissingPerms
	case opens && have&PermSendInThreads == 0:
		return 0, nil, errMissingPerms
	}
	f := &form{}
	if b.Name.set {
		f.length("name", b.Name.or(""), 1, maxThreadName)
	}
	if b.Auto.value != nil && !slices.Contains(autoArchives, *b.Auto.value) {
		f.add("auto_archive_duration", "BASE_TYPE_CHOICES", "Value must be one of (60, 1440, 4320, 10080).")
	}
	if err := f.err(); err != nil {
		return 0, nil, err
	}
	ch.Name = b.Name.or(ch.Name)
	ch.Thread.AutoArchive = b.Auto.or(ch.Thread.AutoArchive)
	ch.Thread.Locked = b.Locked.or(ch.Thread.Locked)
	if b.Archived.value != nil && *b.Archived.value != ch.Thread.Archived {
		ch.Thread.Archived, ch.Thread.ArchivedAt = *b.Archived.value, s.now()
	}
	s.threadChanged(ch)
	return http.StatusOK, ch, nil
}

func (s *Server) deleteChannel(c *call) (int, any, *apiError) {
	ch, err := s.visible(c, PermManageThreads)
	if err != nil {
		return 0, nil, err
	}
	if !ch.IsThread() {
		return 0, nil, errMissingPerms
	}
	s.deleteThread(ch)
	return http.StatusOK, ch, nil
}

func (s *Server) deleteThread(ch *Channel) {
	s.dispatchChannel("THREAD_DELETE", ch.ID, intentGuilds, map[string]any{"id": ch.ID, "guild_id": ch.GuildID, "parent_id": ch.ParentID, "type": ch.Type})
	ch.Deleted = true
	for _, id := range s.timeline[ch.ID] {
		s.messages[id].Deleted = true
	}
	s.changed(Change{Kind: "thread_delete", Channel: ch.ID})
}

// joinThread answers joins and leaves: the bot sees every public thread
// anyway.
func (s *Server) joinThread(c *call) (int, any, *apiError) {
	ch, err := s.visible(c, 0)
	switch {
	case err != nil:
		return 0, nil, err
	case !ch.IsThread():
		return 0, nil, fail(http.StatusBadRequest, 50024, "Cannot execute action on this channel type")
	case ch.Thread.Archived:
		return 0, nil, errArchived
	}
	return http.StatusNoContent, nil, nil
}

func (s *Server) commandsOf(guildID string) []*Command {
	out := []*Command{}
	for _, c := range s.commands {
		if c.GuildID == guildID {
			out = append(out, c)
		}
	}
	return out
}

// application checks the path's application and guild.
func (s *Server) application(c *call) (guildID string, err *apiError) {
	if c.path("app") != s.bot.ID {
		return "", errUnknownApp
	}
	guildID = c.path("guild")
	if guildID != "" && s.guilds[guildID] == nil {
		return "", errMissingAccess
	}
	return guildID, nil
}

func (s *Server) getCommands(c *call) (int, any, *apiError) {
	g, err := s.application(c)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, s.commandsOf(g), nil
}

func (s *Server) putCommands(c *call) (int, any, *apiError) {
	g, err := s.application(c)
	if err != nil {
		return 0, nil, err
	}
	var list []*Command
	if err := decode(c.body, &list); err != nil {
		return 0, nil, err
	}
	old := s.commandsOf(g)
	fresh := 0
	f := &form{}
	names := map[string]bool{}
	counts := map[int]int{}
	for i, cmd := range list {
		if cmd == nil {
			f.add(strconv.Itoa(i), "BASE_TYPE_REQUIRED", "This field is required")
			continue
		}
		f.command(strconv.Itoa(i), cmd)
		counts[cmd.Type]++
		key := strconv.Itoa(cmd.Type) + cmd.Name
		if names[key] {
			f.add(join("", i, "name"), "APPLICATION_COMMANDS_DUPLICATE_NAME", "Application command names must be unique")
		}
		names[key] = true
		s.adopt(cmd, old, g)
		if cmd.ID == "" {
			fresh++
		}
	}
	if err := f.err(); err != nil {
		return 0, nil, err
	}
	if counts[CommandChat] > maxChatCommands || counts[CommandUser] > maxMenuCommands || counts[CommandMessage] > maxMenuCommands {
		return 0, nil, fail(http.StatusBadRequest, 30032, "Maximum number of application commands reached (100)")
	}
	if s.creates[g]+fresh > maxCreatesPerDay {
		return 0, nil, errCreatesPerDay
	}
	s.creates[g] += fresh
	s.commands = slices.DeleteFunc(s.commands, func(c *Command) bool { return c.GuildID == g })
	for _, cmd := range list {
		s.stamp(cmd)
	}
	s.commands = append(s.commands, list...)
	s.changed(Change{Kind: "commands"})
	return http.StatusOK, s.commandsOf(g), nil
}

// adopt gives a command the identity of the one it replaces.
func (s *Server) adopt(cmd *Command, old []*Command, guildID string) {
	cmd.ID, cmd.Application, cmd.GuildID = "", s.bot.ID, guildID
	for _, o := range old {
		if o.Name == cmd.Name && o.Type == cmd.Type {
			cmd.ID = o.ID
		}
	}
}

func (s *Server) stamp(cmd *Command) {
	if cmd.ID == "" {
		cmd.ID = s.newID()
	}
	cmd.Version = s.newID()
}

func (s *Server) postCommand(c *call) (int, any, *apiError) {
	g, err := s.application(c)
	if err != nil {
		return 0, nil, err
	}
	var cmd Command
	if err := decode(c.body, &cmd); err != nil {
		return 0, nil, err
	}
	f := &form{}
	f.command("", &cmd)
	if err := f.err(); err != nil {
		return 0, nil, err
	}
	s.adopt(&cmd, s.commandsOf(g), g)
	status := http.StatusOK
	if cmd.ID == "" {
		status = http.StatusCreated
		if s.creates[g]++; s.creates[g] > maxCreatesPerDay {
			return 0, nil, errCreatesPerDay
		}
	}
	s.commands = slices.DeleteFunc(s.commands, func(o *Command) bool { return o.ID == cmd.ID })
	s.stamp(&cmd)
	s.commands = append(s.commands, &cmd)
	s.changed(Change{Kind: "commands"})
	return status, cmd, nil
}

func (s *Server) deleteCommand(c *call) (int, any, *apiError) {
	g, err := s.application(c)
	if err != nil {
		return 0, nil, err
	}
	n := len(s.commands)
	s.commands = slices.DeleteFunc(s.commands, func(o *Command) bool { return o.ID == c.path("command") && o.GuildID == g })
	if len(s.commands) == n {
		return 0, nil, errUnknownCommand
	}
	s.changed(Change{Kind: "commands"})
	return http.StatusNoContent, nil, nil
}

// Commands lists what the bot has registered, guild commands first.
func (s *Server) Commands(guildID string) []Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Command
	for _, c := range append(s.commandsOf(guildID), s.commandsOf("")...) {
		out = append(out, *c)
	}
	return out
}
