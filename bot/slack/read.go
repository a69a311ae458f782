package slack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	slackgo "github.com/slack-go/slack"

	"kgent/bot/thread"
)

var _ thread.Reader = (*Adapter)(nil)

// sharedFile is what is read of a file in a message.
type sharedFile struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// maxShared is how many files of a message are noted.
const maxShared = 10

// attachedTo are the files of a message. Only their ids are kept: where a file is, Slack is
// asked when it is read.
func attachedTo(m message) []thread.Attached {
	var out []thread.Attached
	for _, f := range m.Files {
		if f.ID != "" && len(out) < maxShared {
			out = append(out, thread.Attached{ID: f.ID, Name: f.Name, Size: f.Size})
		}
	}
	return out
}

// Read implements [thread.Reader]. The bot's token goes with the request, so it goes to
// Slack's own hosts only, whatever Slack says of where the file is, and follows no redirect.
func (a *Adapter) Read(ctx context.Context, _ thread.Place, f thread.Attached, most int) ([]byte, error) {
	info, _, _, err := a.api.GetFileInfoContext(ctx, f.ID, 0, 0)
	if r, ok := errors.AsType[slackgo.SlackErrorResponse](err); ok && (r.Err == "file_not_found" || r.Err == "file_deleted" || r.Err == "access_denied") {
		return nil, &thread.GoneError{Why: "it is gone, or kgent may not see it"}
	}
	if err != nil {
		return nil, fmt.Errorf("asking Slack for a file: %w", a.failed(err))
	}
	if info.Size > most {
		return nil, &thread.GoneError{Why: fmt.Sprintf("it has %d bytes, at most %d are read", info.Size, most)}
	}
	at := or(info.URLPrivateDownload, info.URLPrivate)
	if info.IsExternal || !a.holdsFiles(at) {
		return nil, &thread.GoneError{Why: "it is not kept by Slack"}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("asking Slack for a file: %w", bare(err))
	}
	req.Header.Set("Authorization", "Bearer "+a.cfg.BotToken)
	resp, err := a.hooks.Do(req) // follows no redirect
	if err != nil {
		return nil, fmt.Errorf("asking Slack for a file: %w", bare(err))
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		return nil, &thread.RateLimitedError{After: defaultRetry}
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode/100 == 3:
		return nil, &thread.GoneError{Why: "Slack does not hand it out; kgent needs the permission files:read, and to be in the channel"}
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("asking Slack for a file: it answers %s", resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, int64(most)+1))
	if err != nil {
		return nil, fmt.Errorf("asking Slack for a file: %w", bare(err))
	}
	if len(data) > most {
		return nil, &thread.GoneError{Why: fmt.Sprintf("it has more than %d bytes", most)}
	}
	return data, nil
}

// holdsFiles reports whether an address is one of the hosts that keep files for the Web API
// that this adapter speaks to.
func (a *Adapter) holdsFiles(at string) bool {
	u, err := url.Parse(at)
	api, fault := url.Parse(a.cfg.APIURL)
	if err != nil || fault != nil || u.User != nil || u.Scheme != api.Scheme {
		return false
	}
	if own, _ := url.Parse(slackgo.APIURL); api.Host == own.Host {
		return u.Host == "files.slack.com" || u.Host == "slack-files.com" || strings.HasSuffix(u.Host, ".slack.com") && !strings.Contains(u.Host, ":")
	}
	return u.Host == api.Host
}
