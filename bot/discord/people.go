package discord

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kgent/bot/thread"
)

// fresh is how old what is remembered of people may be.
const fresh = time.Minute

type user struct {
	ID         string `json:"id"`
	Username   string `json:"username"`
	GlobalName string `json:"global_name"`
	Bot        bool   `json:"bot"`
	System     bool   `json:"system"`
}

// member is a user in a guild.
type member struct {
	User    user     `json:"user"`
	Nick    string   `json:"nick"`
	Roles   []string `json:"roles"`
	Pending bool     `json:"pending"`
	Flags   int      `json:"flags"`
	// TimedOut is until when they may not speak.
	TimedOut *time.Time `json:"communication_disabled_until"`
}

const (
	memberGuest       = 1 << 4 // invited to one voice channel only
	memberQuarantined = 1 << 7 // the name is blocked by AutoMod
)

func name(u user, m *member) string {
	switch {
	case m != nil && m.Nick != "":
		return m.Nick
	case u.GlobalName != "":
		return u.GlobalName
	}
	return u.Username
}

// why says why a member is not somebody who may ask or answer, or "".
func (m member) why(now time.Time) string {
	switch {
	case m.User.Bot:
		return "this is a bot"
	case m.User.System:
		return "this is Discord itself"
	case m.Pending:
		return "they have not accepted the server's rules yet"
	case m.Flags&memberGuest != 0:
		return "they are a guest of the server"
	case m.Flags&memberQuarantined != 0:
		return "they are quarantined in the server"
	case m.TimedOut != nil && m.TimedOut.After(now):
		return "they are timed out in the server"
	}
	return ""
}

// Human implements [thread.Platform]. A direct message names no server: then
// the person must be in good standing in one that is served.
func (a *Adapter) Human(ctx context.Context, acc thread.Account) error {
	if acc.Surface != Surface || !snowflake(acc.User) {
		return &thread.NotHumanError{Why: "this is no account on Discord"}
	}
	guilds := []string{acc.Tenant}
	if acc.Tenant == "" {
		var err error
		if guilds, err = a.served(ctx); err != nil {
			return err
		}
	} else if !a.serves(acc.Tenant) {
		return &thread.NotHumanError{Why: "kgent does not serve this Discord server"}
	}
	why := "they are in no Discord server that kgent serves"
	if acc.Tenant != "" {
		why = "they are not a member of the Discord server"
	}
	var unknown error
	for _, g := range guilds {
		m, err := a.member(ctx, g, acc.User)
		if errors.Is(err, errNoMember) {
			continue
		}
		if err != nil {
			unknown = err
			continue
		}
		if why = m.why(a.now()); why == "" {
			return nil
		}
	}
	if unknown != nil {
		return fmt.Errorf("asking Discord about %s: %w", acc, unknown)
	}
	return &thread.NotHumanError{Why: why}
}

// homeTime bounds the questions for somebody's server.
const homeTime = time.Second

// home returns the served server as whose member somebody is heard who writes a
// direct message, which names none: the first in which they are known to be in
// good standing, or "". Without one they are told why by [Adapter.Human].
func (a *Adapter) home(ctx context.Context, userID string) string {
	ctx, cancel := context.WithTimeout(ctx, homeTime)
	defer cancel()
	guilds, err := a.served(ctx)
	if err != nil {
		a.log.Warn("asking Discord for the home of a direct message", "err", err)
	}
	for _, g := range guilds {
		m, err := a.member(ctx, g, userID)
		if err == nil && m.why(a.now()) == "" {
			return g
		}
		if err != nil && !errors.Is(err, errNoMember) {
			a.log.Warn("asking Discord for the home of a direct message", "guild", g, "err", err)
		}
	}
	return ""
}

// Member implements [thread.Platform]; a group is "discord:GUILD/ROLE".
func (a *Adapter) Member(ctx context.Context, acc thread.Account, group string) (bool, error) {
	guild, role, ok := strings.Cut(strings.TrimPrefix(group, Surface+":"), "/")
	if !ok || !strings.HasPrefix(group, Surface+":") || !snowflake(guild) || !snowflake(role) {
		return false, fmt.Errorf("a Discord role is written as \"discord:SERVER/ROLE\" with their ids, not %q", group)
	}
	if acc.Surface != Surface || !snowflake(acc.User) || !a.serves(guild) {
		return false, nil
	}
	m, err := a.member(ctx, guild, acc.User)
	if errors.Is(err, errNoMember) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking Discord for the roles of %s: %w", acc, err)
	}
	return m.why(a.now()) == "" && slices.Contains(m.Roles, role), nil
}

var errNoMember = errors.New("not a member")

// member asks Discord about somebody in a guild, at most once a minute. Who is
// not there is asked about again at once.
func (a *Adapter) member(ctx context.Context, guild, userID string) (member, error) {
	key := guild + "/" + userID
	now := a.now()
	if m, ok := a.members.get(key, now.Add(-fresh)); ok {
		return m, nil
	}
	var m member
	err := a.get(ctx, "/guilds/"+guild+"/members/"+userID, "/guilds/"+guild+"/members/id", &m)
	switch code(err) {
	case codeUnknownMember, codeUnknownUser:
		a.members.forget(key)
		return member{}, errNoMember
	}
	if err != nil {
		return member{}, gone(notSent(err))
	}
	if m.User.ID != userID {
		return member{}, errors.New("Discord answered about somebody else")
	}
	a.members.put(key, m, now)
	return m, nil
}

// served lists the guilds that are served.
func (a *Adapter) served(ctx context.Context) ([]string, error) {
	if len(a.cfg.Guilds) > 0 {
		return a.cfg.Guilds, nil
	}
	now := a.now()
	if gs, ok := a.joined.get("", now.Add(-fresh)); ok {
		return gs, nil
	}
	var list []struct {
		ID string `json:"id"`
	}
	if err := a.get(ctx, "/users/@me/guilds", "/users/@me/guilds", &list); err != nil {
		return nil, fmt.Errorf("asking Discord which servers the bot is in: %w", notSent(err))
	}
	gs := make([]string, len(list))
	for i, g := range list {
		gs[i] = g.ID
	}
	a.joined.put("", gs, now)
	return gs, nil
}
