package discord

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"kgent/bot/thread"
)

var _ thread.Reader = (*Adapter)(nil)

// seenFile is what is read of a file in a message.
type seenFile struct {
	ID       string `json:"id"`
	Filename string `json:"filename"`
	Size     int64  `json:"size"`
	URL      string `json:"url"`
}

// maxAttached is how many files of a message are noted: as many as Discord takes.
const maxAttached = 10

func attachedTo(m message) []thread.Attached {
	var out []thread.Attached
	for _, f := range m.Attachments {
		if f.ID != "" && len(out) < maxAttached {
			out = append(out, thread.Attached{ID: f.ID, Name: f.Filename, Size: f.Size, URL: f.URL})
		}
	}
	return out
}

// fileTime is how long a file may take.
const fileTime = 10 * time.Second

// Read implements [thread.Reader]. Discord's content network hands files out to whoever has
// their signed address, so no token goes along; other hosts are not asked.
func (a *Adapter) Read(ctx context.Context, _ thread.Place, f thread.Attached, most int) ([]byte, error) {
	if !a.holdsFiles(f.URL) {
		return nil, &thread.GoneError{Why: "it is not kept by Discord"}
	}
	ctx, cancel := context.WithTimeout(ctx, fileTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL, nil)
	if err != nil {
		return nil, errors.New("asking Discord for a file: its address is none")
	}
	client := &http.Client{Transport: a.base, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error // its address is a secret of sorts
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, fmt.Errorf("asking Discord for a file: %w", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusForbidden || resp.StatusCode/100 == 3:
		return nil, &thread.GoneError{Why: "it is gone; attach it again"}
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("asking Discord for a file: it answers %s", resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, int64(most)+1))
	if err != nil {
		return nil, fmt.Errorf("asking Discord for a file: %w", err)
	}
	if len(data) > most {
		return nil, &thread.GoneError{Why: fmt.Sprintf("it has more than %d bytes", most)}
	}
	return data, nil
}

// holdsFiles reports whether an address is one of Discord's content network, or of the
// stand-in that the adapter speaks to.
func (a *Adapter) holdsFiles(at string) bool {
	u, err := url.Parse(at)
	if err != nil || u.User != nil {
		return false
	}
	if a.cfg.APIURL != "" {
		api, err := url.Parse(a.api)
		return err == nil && u.Scheme == api.Scheme && u.Host == api.Host
	}
	return u.Scheme == "https" && (u.Host == "cdn.discordapp.com" || u.Host == "media.discordapp.net")
}
