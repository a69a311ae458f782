package slack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	slackgo "github.com/slack-go/slack"

	"kgent/bot/thread"
)

// user asks Slack about a user; what it says counts for a minute.
func (a *Adapter) user(ctx context.Context, id string) (*slackgo.User, error) {
	return a.users.load(ctx, id, func(ctx context.Context) (*slackgo.User, error) {
		u, err := a.api.GetUserInfoContext(ctx, id)
		if err != nil {
			return nil, err
		}
		if u.ID != id {
			return nil, fmt.Errorf("Slack answered about %q", u.ID)
		}
		a.names.put(id, called(u))
		return u, nil
	})
}

// Human returns nil when the account is a person of this workspace (or, with
// Enterprise Grid, of this organisation), as Slack said within the last
// minute.
func (a *Adapter) Human(ctx context.Context, acc thread.Account) error {
	no := func(why string) error { return &thread.NotHumanError{Why: why} }
	if acc.Surface != surface {
		return fmt.Errorf("looking up %s: it is not an account of Slack", acc)
	}
	me, err := a.self(ctx)
	if err != nil {
		return err
	}
	if acc.User == "" || acc.User == me.User || acc.User == "USLACKBOT" {
		return no("this is a bot, and only people may do that")
	}
	u, err := a.user(ctx, acc.User)
	if r, ok := errors.AsType[slackgo.SlackErrorResponse](err); ok && (r.Err == "user_not_found" || r.Err == "user_not_visible") {
		return no("Slack does not know this account")
	}
	if err != nil {
		return fmt.Errorf("looking up %s: %w", acc, a.failed(err))
	}
	ours := u.TeamID == me.Team || me.Enterprise != "" && u.Enterprise.EnterpriseID == me.Enterprise
	switch {
	case u.Deleted:
		return no("this account is deactivated")
	case u.IsBot || u.IsWorkflowBot || u.IsConnectorBot:
		return no("this is a bot, and only people may do that")
	case u.IsStranger || !ours:
		return no("this account belongs to another workspace")
	case u.IsRestricted || u.IsUltraRestricted:
		return no("this is a guest's account, and only members may do that")
	case acc.Tenant != u.TeamID && !slices.Contains(u.Enterprise.Teams, acc.Tenant):
		return no("this account belongs to another workspace than it says")
	}
	return nil
}

// Member reports whether the account is in a user group, named as
// "slack:T024/S012", as Slack said within the last minute.
func (a *Adapter) Member(ctx context.Context, acc thread.Account, group string) (bool, error) {
	rest, ok := strings.CutPrefix(group, surface+":")
	team, id, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || team == "" || id == "" || strings.Contains(id, "/") {
		return false, fmt.Errorf("looking up group %q: a user group of Slack is written as slack:TEAM/GROUP", group)
	}
	if acc.Surface != surface || acc.User == "" {
		return false, nil
	}
	me, err := a.self(ctx)
	if err != nil {
		return false, err
	}
	if team != me.Team {
		return false, fmt.Errorf("looking up group %s: kgent is in workspace %s", group, me.Team)
	}
	members, err := a.groups.load(ctx, id, func(ctx context.Context) ([]string, error) {
		return a.api.GetUserGroupMembersContext(ctx, id)
	})
	if err != nil {
		return false, fmt.Errorf("looking up group %s: %w", group, a.failed(err))
	}
	return slices.Contains(members, acc.User), nil
}

// Link returns a link to a message, or to its thread when only that is known.
func (a *Adapter) Link(ctx context.Context, p thread.Place, h thread.Handle) string {
	me, err := a.self(ctx)
	ts := h.ID
	if isFile(h) || ts == "" {
		ts = p.Thread
	}
	channel := or(h.Channel, p.Channel)
	if err != nil || me.URL == "" || channel == "" || ts == "" || p.Home != "" {
		return ""
	}
	link := strings.TrimSuffix(me.URL, "/") + "/archives/" + channel + "/p" + strings.ReplaceAll(ts, ".", "")
	if p.Thread != "" && p.Thread != ts {
		link += "?thread_ts=" + p.Thread + "&cid=" + channel
	}
	return link
}
