package discord

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/bwmarrin/discordgo"

	"kgent/bot/thread"
)

// traceThis is the command in the menu of a message.
const traceThis = "Trace this"

// command and commandOption are commands as they travel. discordgo's types send
// null where Discord wants nothing.
type command struct {
	Type        discordgo.ApplicationCommandType `json:"type"`
	Name        string                           `json:"name"`
	Description string                           `json:"description,omitempty"`
	// Contexts are where it can be used, and IntegrationTypes how the bot got
	// there.
	Contexts         []discordgo.InteractionContextType     `json:"contexts"`
	IntegrationTypes []discordgo.ApplicationIntegrationType `json:"integration_types"`
	Options          []commandOption                        `json:"options,omitempty"`
}

type commandOption struct {
	Type         discordgo.ApplicationCommandOptionType `json:"type"`
	Name         string                                 `json:"name"`
	Description  string                                 `json:"description"`
	Required     bool                                   `json:"required,omitempty"`
	Autocomplete bool                                   `json:"autocomplete,omitempty"`
	Options      []commandOption                        `json:"options,omitempty"`
}

// commands are those of kgent, as Discord is told them.
func commands() []command {
	contexts := []discordgo.InteractionContextType{discordgo.InteractionContextGuild, discordgo.InteractionContextBotDM}
	install := []discordgo.ApplicationIntegrationType{discordgo.ApplicationIntegrationGuildInstall}
	sub := func(name, description string, options ...commandOption) commandOption {
		return commandOption{Type: discordgo.ApplicationCommandOptionSubCommand, Name: name, Description: description, Options: options}
	}
	words := func(name, description string, required bool) commandOption {
		return commandOption{Type: discordgo.ApplicationCommandOptionString, Name: name, Description: description, Required: required, Autocomplete: true}
	}
	return []command{
		{
			Type: discordgo.ChatApplicationCommand, Name: "kgent", Description: "Trace what the kernel of a node is doing", Contexts: contexts, IntegrationTypes: install,
			Options: []commandOption{
				sub("ask", "Ask for a trace in your own words",
					words("request", "What do you want to know? For example: which processes write to disk", true),
					words("node", "On which node", false)),
				sub("list", "What you asked for, what waits for you, what runs"),
				sub("nodes", "The nodes that can be traced"),
				sub("recipes", "What can be traced without writing a program"),
				sub("help", "What kgent does and how to ask"),
			},
		},
		{Type: discordgo.MessageApplicationCommand, Name: traceThis, Contexts: contexts, IntegrationTypes: install},
	}
}

// Register tells Discord the commands, in place of all that it knew. [Run] does
// it when it starts; without the gateway one replica does it once.
func (a *Adapter) Register(ctx context.Context) error {
	id, err := a.application(ctx)
	if err != nil {
		return err
	}
	put := func(scope string) error {
		path := "/applications/" + id + scope + "/commands"
		_, err := a.call(ctx, request{method: http.MethodPut, path: path, route: path, body: commands(), urgent: true})
		return err
	}
	if len(a.cfg.Guilds) == 0 {
		if err := put(""); err != nil {
			return fmt.Errorf("telling Discord the commands: %w", err)
		}
		return nil
	}
	for _, g := range a.cfg.Guilds {
		err := put("/guilds/" + g)
		var said *apiError
		switch {
		case code(err) == codeMissingAccess || code(err) == codeUnknownGuild:
			// One server that is not ready does not keep the others waiting.
			a.log.Error("the bot is not in a configured Discord server, or was invited without the scope applications.commands: invite it with the URL of the README", "server", g)
		case errors.As(err, &said) && said.Status == http.StatusUnauthorized, err != nil:
			return fmt.Errorf("telling Discord the commands for server %s: %w", g, err)
		}
	}
	return nil
}

// commandText turns a slash command into words: what was asked, or the name of
// the command. asks tells the first from the second.
func commandText(name string, options []option) (text string, asks, ok bool) {
	if name != "kgent" || len(options) != 1 {
		return "", false, false
	}
	sub := options[0]
	switch sub.Name {
	case "ask":
		var request, node string
		for _, o := range sub.Options {
			v, _ := o.Value.(string)
			switch o.Name {
			case "request":
				request = strings.TrimSpace(v)
			case "node":
				node = strings.TrimSpace(v)
			}
		}
		if request == "" {
			return "", false, false
		}
		if node != "" {
			request += " on " + node
		}
		return request, true, true
	case "list", "nodes", "recipes", "help":
		return sub.Name, false, true
	}
	return "", false, false
}

// maxChoice is how long a suggestion may be, and how many there are.
const (
	maxChoice  = 100
	maxChoices = 25
)

type choice struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func choices(cs []choice) answer {
	return answer{answerComplete, map[string]any{"choices": append([]choice{}, cs...)}}
}

// complete answers what is being typed with suggestions.
func (a *Adapter) complete(ctx context.Context, front thread.Front, in interaction, by thread.Account) answer {
	if in.Data.Name != "kgent" || len(in.Data.Options) != 1 {
		return choices(nil)
	}
	var out []choice
	seen := map[string]bool{}
	for _, o := range in.Data.Options[0].Options {
		if !o.Focused {
			continue
		}
		typed, _ := o.Value.(string)
		for _, s := range front.Complete(ctx, by, o.Name, typed) {
			// One that had to be cut would ask for something else.
			if s == "" || size(s) > maxChoice || plain(s, maxChoice) != s || seen[s] || len(out) == maxChoices {
				continue
			}
			seen[s] = true
			out = append(out, choice{s, s})
		}
	}
	return choices(out)
}
