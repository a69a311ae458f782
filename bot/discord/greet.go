package discord

import (
	"context"
	"errors"
	"net/http"

	"kgent/bot/thread"
)

// Greet asks Discord who the bot is, and returns the servers that it serves as
// the policy writes them. A [*thread.GoneError] says that Discord does not accept
// the token.
func (a *Adapter) Greet(ctx context.Context) ([]string, error) {
	_, err := a.self(ctx)
	var said *apiError
	if errors.As(err, &said) && said.Status == http.StatusUnauthorized {
		return nil, &thread.GoneError{Why: "Discord does not accept the token: reset it on the application's page, under Bot, and set it as DISCORD_TOKEN"}
	}
	if err != nil {
		return nil, err
	}
	guilds, err := a.served(ctx)
	var out []string
	for _, g := range guilds {
		out = append(out, Surface+":"+g)
	}
	return out, err
}
