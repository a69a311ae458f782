package probe

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// SweepEvents removes the trace events that a kgent which died has left in
// tracefs, and says which. kgent makes events only where kernels cannot probe
// without, before 4.17, and other than perf events they outlive their process.
// An event that some process has open cannot be removed: so whose process lives
// stays, as does everything without a name of kgent's. tracefs is where that is
// mounted; "" removes nothing.
func SweepEvents(tracefs string) (removed []string, err error) {
	if tracefs == "" {
		return nil, nil
	}
	var errs []error
	for _, file := range []string{"kprobe_events", "uprobe_events"} {
		path := filepath.Join(tracefs, file)
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // not in this kernel
		}
		if err != nil {
			return removed, fmt.Errorf("listing the events of %s: %w", file, err)
		}
		for line := range strings.Lines(string(text)) {
			event := ownEvent(line)
			if event == "" {
				continue
			}
			switch err := deleteEvent(path, event); {
			case err == nil:
				removed = append(removed, "event "+event+" in "+path)
			case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENOENT): // in use, or gone meanwhile
			default:
				errs = append(errs, fmt.Errorf("removing event %s from %s: %w", event, path, err))
			}
		}
	}
	return removed, errors.Join(errs...)
}

// eventRandom is how many random bytes end the name of an event's group.
const eventRandom = 8

// ownEvent is GROUP/EVENT of a line of tracefs, if kgent made it, else "". A line
// is p:GROUP/EVENT PLACE, see Documentation/trace/kprobetrace.rst.
func ownEvent(line string) string {
	kind, rest, ok := strings.Cut(line, ":")
	event, _, place := strings.Cut(rest, " ")
	group, name, named := strings.Cut(event, "/")
	digits, own := strings.CutPrefix(group, tracePrefix+"_")
	raw, err := hex.DecodeString(digits)
	if !ok || !place || !named || !own || name == "" || err != nil || len(raw) != eventRandom || digits != hex.EncodeToString(raw) {
		return ""
	}
	if kind == "" || kind[0] != 'p' && kind[0] != 'r' {
		return ""
	}
	return event
}

func deleteEvent(path, event string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("-:" + event + "\n")
	return errors.Join(err, f.Close())
}
