package discordd

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// Perm is a set of permissions; on the wire a decimal string.
type Perm uint64

// The permissions that the stand-in checks.
const (
	PermAdministrator  Perm = 1 << 3
	PermAddReactions   Perm = 1 << 6
	PermViewChannel    Perm = 1 << 10
	PermSendMessages   Perm = 1 << 11
	PermManageMessages Perm = 1 << 13
	PermEmbedLinks     Perm = 1 << 14
	PermAttachFiles    Perm = 1 << 15
	PermReadHistory    Perm = 1 << 16
	PermMentionAll     Perm = 1 << 17
	PermUseCommands    Perm = 1 << 31
	PermManageThreads  Perm = 1 << 34
	PermPublicThreads  Perm = 1 << 35
	PermPrivateThreads Perm = 1 << 36
	PermSendInThreads  Perm = 1 << 38

	// PermDefault is what @everyone has when a guild's configuration names no
	// @everyone role.
	PermDefault = PermAddReactions | PermViewChannel | PermSendMessages | PermEmbedLinks | PermAttachFiles |
		PermReadHistory | PermUseCommands | PermPublicThreads | PermPrivateThreads | PermSendInThreads
	permAll Perm = 1<<50 - 1
)

// MarshalJSON writes the decimal string.
func (p Perm) MarshalJSON() ([]byte, error) {
	return json.Marshal(strconv.FormatUint(uint64(p), 10))
}

// UnmarshalJSON reads the decimal string.
func (p *Perm) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return fmt.Errorf("reading permissions %q: %w", s, err)
	}
	*p = Perm(n)
	return nil
}

// permissions are what a user may do in a channel: roles, then the channel's
// overwrites for @everyone, for the roles together, and for the member. A
// thread has its parent's. The caller holds mu.
func (s *Server) permissions(userID string, c *Channel) Perm {
	if c.Type == ChannelDM {
		if slices.ContainsFunc(c.Recipients, func(u User) bool { return u.ID == userID }) || userID == s.bot.ID {
			return permAll &^ PermAdministrator
		}
		return 0
	}
	g := s.guilds[c.GuildID]
	if g == nil {
		return 0
	}
	m := g.members[userID]
	if m == nil {
		return 0
	}
	if c.IsThread() {
		if parent := s.channels[c.ParentID]; parent != nil {
			c = parent
		}
	}
	base := g.role(g.ID).Permissions
	for _, id := range m.Roles {
		if r := g.role(id); r != nil {
			base |= r.Permissions
		}
	}
	if base&PermAdministrator != 0 || g.Owner == userID {
		return permAll
	}
	var allow, deny Perm
	for _, o := range c.Over {
		if o.Type == 0 && o.ID == g.ID {
			base = base&^o.Deny | o.Allow
		} else if o.Type == 0 && slices.Contains(m.Roles, o.ID) {
			allow |= o.Allow
			deny |= o.Deny
		}
	}
	base = base&^deny | allow
	for _, o := range c.Over {
		if o.Type == 1 && o.ID == userID {
			base = base&^o.Deny | o.Allow
		}
	}
	return base
}

// sees says whether a user can look into a channel. The caller holds mu.
func (s *Server) sees(userID string, c *Channel) bool {
	return !c.Deleted && s.permissions(userID, c)&PermViewChannel != 0
}
