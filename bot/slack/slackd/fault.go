package slackd

import (
	"slices"
	"strings"
	"time"
)

// Fault is something that goes wrong. For a call of the Web API:
//
//   - Delay waits before anything else is done;
//   - Error answers ok=false with that code, and "ratelimited" answers 429
//     with RetryAfter;
//   - Status answers with that HTTP status, such as 503, and Drop closes the
//     connection without any answer. Neither does what was asked, unless
//     AfterCommit is set.
//
// For a delivery to the app:
//
//   - Delay waits before it is sent;
//   - Redeliver sends it so many times more although it was acknowledged, and
//     LoseAck acts as if the acknowledgement had not come;
//   - Disconnect sends a disconnect with this reason ("warning",
//     "refresh_requested" or "link_disabled") over the same socket immediately
//     before, and Kill closes the socket immediately after it was written;
//   - BadSignature, OldTimestamp and Oversize spoil a delivery by HTTP: what is
//     sent was not sent by Slack.
type Fault struct {
	// On is a method ("chat.update"), a pattern of methods ("chat.*"), "upload"
	// for the address of a file or "response_url" for those of messages, which
	// know Status, and the latter Drop and AfterCommit; or it is a delivery: "event:" and the event's type ("event:app_mention"),
	// "interaction:" and its type ("interaction:block_actions"), or "command:"
	// and the command ("command:/kgent"); "*" after a colon is any.
	On      string
	Channel string // only calls with this channel; empty is any
	Skip    int    // spare the first so many
	Count   int    // strike so many times; 0 is until removed

	Delay       time.Duration
	Error       string
	RetryAfter  time.Duration // default 1 s
	Status      int
	Drop        bool
	AfterCommit bool

	Redeliver    int
	LoseAck      bool
	Disconnect   string
	Kill         bool
	BadSignature bool
	OldTimestamp bool
	Oversize     bool
}

func (f Fault) refusal() error {
	if f.Error == "" {
		return nil
	}
	return &apiError{code: f.Error, retry: f.RetryAfter}
}

// Inject makes a fault happen from now on until remove is called. Of several
// faults that fit the one injected first strikes.
func (s *Server) Inject(f Fault) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := &f
	s.faults = append(s.faults, own)
	s.touch()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(g *Fault) bool { return g == own })
		s.touch()
	}
}

// Faults are the faults that are yet to strike.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Fault
	for _, f := range s.faults {
		list = append(list, *f)
	}
	return list
}

// ClearFaults removes all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	s.touch()
}

// fault is what goes wrong this time; the zero Fault is nothing.
func (s *Server) fault(on, channel string) Fault {
	for i, f := range s.faults {
		stem, any := strings.CutSuffix(f.On, "*")
		if f.On != on && !(any && strings.HasPrefix(on, stem) && strings.Contains(stem, ":") == strings.Contains(on, ":")) {
			continue
		}
		if f.Channel != "" && f.Channel != channel {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Count == 1 {
			s.faults = slices.Delete(s.faults, i, i+1)
		} else if f.Count > 1 {
			f.Count--
		}
		return *f
	}
	return Fault{}
}
