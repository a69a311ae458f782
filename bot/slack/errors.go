package slack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	slackgo "github.com/slack-go/slack"

	"kgent/bot/thread"
)

// errTooLong says that Slack found a message too long or its blocks wrong.
var errTooLong = errors.New("Slack finds the message too long")

// gone are Slack's errors after which trying again does not help, in words
// that say what to do.
var gone = map[string]string{
	"channel_not_found":                     "Slack shows kgent no such channel: invite it there with /invite @kgent",
	"not_in_channel":                        "kgent is not in the channel: invite it there with /invite @kgent",
	"is_archived":                           "the channel is archived: unarchive it, or ask in another channel",
	"message_not_found":                     "the message was deleted",
	"thread_not_found":                      "the thread was deleted",
	"cant_update_message":                   "the message is not kgent's to change",
	"cannot_reply_to_message":               "Slack does not let this message have replies",
	"restricted_action":                     "the workspace's settings do not let kgent post here: ask an administrator",
	"restricted_action_read_only_channel":   "only some people may post in this channel: ask an administrator",
	"restricted_action_thread_only_channel": "this channel takes posts only in threads",
	"restricted_action_thread_locked":       "the thread is locked",
	"user_not_found":                        "Slack knows no such user",
	"user_disabled":                         "the account is deactivated",
	"cannot_dm_bot":                         "bots cannot be written to",
	"messages_tab_disabled":                 `direct messages to kgent are switched off: turn on "Messages Tab" in the app's page "App Home"`,
	"not_enabled":                           `the home page is switched off: turn on "Home Tab" in the app's page "App Home"`,
	"missing_scope":                         "the app lacks a permission: compare its scopes with deploy/slack-manifest.yaml and install it again",
	"access_denied":                         "Slack does not let kgent do this",
	"no_permission":                         "Slack does not let kgent do this",
	"team_access_not_granted":               "the app is not granted to this workspace: ask an administrator",
	"ekm_access_denied":                     "the workspace's administrators have suspended the posting of messages",
	"not_allowed_token_type":                "SLACK_BOT_TOKEN is not a bot token (xoxb-…)",
}

// fatal are Slack's errors about the token itself.
var fatal = map[string]bool{
	"invalid_auth": true, "not_authed": true, "account_inactive": true, "token_revoked": true, "token_expired": true,
	"org_login_required": true,
}

// defaultRetry is waited when Slack limits without saying for how long.
const defaultRetry = 30 * time.Second

// failed makes an error of a call one of thread's types, except for
// [*thread.UnknownError]: see unsent. Addresses (of uploads, of sockets) carry
// secrets and are taken out.
func (a *Adapter) failed(err error) error {
	if limited, ok := errors.AsType[*slackgo.RateLimitedError](err); ok {
		return &thread.RateLimitedError{After: max(limited.RetryAfter, time.Second)}
	}
	if status, ok := errors.AsType[slackgo.StatusCodeError](err); ok && status.Code == http.StatusTooManyRequests {
		return &thread.RateLimitedError{After: defaultRetry}
	}
	if r, ok := errors.AsType[slackgo.SlackErrorResponse](err); ok {
		return a.refused(r)
	}
	return bare(err)
}

// bare takes the address out of an error.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("reaching Slack: %w", u.Err)
	}
	return err
}

// refused makes an error of Slack's answer.
func (a *Adapter) refused(r slackgo.SlackErrorResponse) error {
	switch r.Err {
	case "ratelimited", "rate_limited":
		return &thread.RateLimitedError{After: defaultRetry}
	case "msg_too_long", "msg_blocks_too_long", "invalid_blocks", "invalid_blocks_format", "view_too_large":
		detail := ""
		if len(r.ResponseMetadata.Messages) > 0 {
			detail = ": " + r.ResponseMetadata.Messages[0]
		}
		return fmt.Errorf("%w (%s%s)", errTooLong, r.Err, detail)
	case "edit_window_closed":
		return &thread.TooOldError{Why: "Slack no longer lets this message be edited"}
	}
	if fatal[r.Err] {
		err := &thread.GoneError{Why: fmt.Sprintf("Slack does not accept kgent's token (%s): install the app again and start kgent with the new token", r.Err)}
		a.mu.Lock()
		a.fatal = err
		a.mu.Unlock()
		return err
	}
	if why, ok := gone[r.Err]; ok {
		if r.Err == "missing_scope" && r.Needed != "" {
			why += " (it needs " + r.Needed + ")"
		}
		return &thread.GoneError{Why: why}
	}
	return fmt.Errorf("Slack refused: %s", r.Err)
}

// unsent makes an error of a call that shows something to people. Unless it is
// certain that Slack did not do it, it is a [*thread.UnknownError].
func (a *Adapter) unsent(err error) error {
	known := a.failed(err)
	if r, ok := errors.AsType[slackgo.SlackErrorResponse](err); ok {
		switch r.Err {
		case "internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org":
			return &thread.UnknownError{Err: known}
		}
		return known
	}
	if _, limited := errors.AsType[*thread.RateLimitedError](known); limited {
		return known
	}
	if status, ok := errors.AsType[slackgo.StatusCodeError](err); ok && status.Code < 500 {
		return known
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" && !errors.Is(err, context.Canceled) {
		return known // not even connected
	}
	return &thread.UnknownError{Err: known}
}
