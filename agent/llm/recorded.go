package llm

import "errors"

// kinds are the failures by their names in records.
var kinds = []struct {
	name string
	err  error
}{
	{"truncated", ErrTruncated}, {"refused", ErrRefused}, {"filtered", ErrContentFilter}, {"not JSON", ErrNotJSON}, {"budget", ErrBudget}, {"prompt", ErrPrompt},
	{"unauthorized", ErrUnauthorized}, {"no model", ErrNoModel}, {"rate limit", ErrRateLimited}, {"unavailable", ErrUnavailable}, {"timeout", ErrTimeout},
	{"too large", ErrTooLarge}, {"protocol", ErrProtocol}, {"rejected", ErrRejected}, {"prompt too long", ErrPromptTooLong}, {"unsupported", ErrUnsupported},
}

// KindOf names the kind of a failure of [Client.Complete], for a record; "other" if it is none of this package's.
func KindOf(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.name
		}
	}
	return "other"
}

// DetailOf is what happened without who was asked: the part of a failure's text that can be given back to a model; empty
// if there is none.
func DetailOf(err error) string {
	var e *Error
	var r *recorded
	switch {
	case errors.As(err, &e):
		return e.Detail
	case errors.As(err, &r):
		return r.detail
	}
	return ""
}

// Recorded is a failure as it was on record: of the kind that [KindOf] named, with the text and the detail it had. A kind that is not
// known is a protocol error.
func Recorded(kind, text, detail string) error {
	for _, k := range kinds {
		if k.name == kind {
			return &recorded{k.err, text, detail}
		}
	}
	return &recorded{ErrProtocol, text, detail}
}

type recorded struct {
	kind         error
	text, detail string
}

func (e *recorded) Error() string { return e.text }
func (e *recorded) Unwrap() error { return e.kind }
