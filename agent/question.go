package agent

import (
	"fmt"
	"strings"
)

// Question ends a preparation that cannot go on without the person: the request can be read
// in ways that lead to different programs, and nothing in it decides between them. Whoever
// gets it shows Text and Options, and prepares the same request again with the answer added
// to [Request.Answers].
type Question struct {
	// Text is the question, in one or two sentences: "Does “failed” include calls that were
	// interrupted (EINTR)?" Where a model wrote it, it is cut short and on one line, but it is
	// still its author's: show it as untrusted text.
	Text string `json:"text"`
	// Options are the readings to choose from, in words; at least two. Another answer, in
	// words of one's own, is as good.
	Options []string `json:"options"`
	// Example is an input for which the readings differ; may be empty.
	Example string `json:"example,omitempty"`
	// Record is what was tried so far.
	Record *Record `json:"-"`
}

// Error is the question with its options, on one line.
func (q *Question) Error() string {
	var b strings.Builder
	b.WriteString(q.Text)
	for i, o := range q.Options {
		fmt.Fprintf(&b, " (%d) %s", i+1, o)
	}
	if q.Example != "" {
		b.WriteString(" For example: " + q.Example)
	}
	return b.String()
}

// Reply is what the person answered to a [Question] about this request.
type Reply struct {
	Question string `json:"question"` // its Text
	Answer   string `json:"answer"`   // one of its Options, or words of one's own
}

// MaxAnswers is how many replies to questions of one request are read.
const MaxAnswers = 8
