package slack

import "context"

// Greet asks Slack who kgent is, and returns the workspace that it serves as the
// policy writes it. A [*thread.GoneError] says that Slack does not accept the
// token.
func (a *Adapter) Greet(ctx context.Context) ([]string, error) {
	me, err := a.self(ctx)
	if err != nil {
		return nil, err
	}
	return []string{surface + ":" + me.Team}, nil
}
