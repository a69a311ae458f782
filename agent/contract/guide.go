package contract

import (
	_ "embed"
	"strings"
)

//go:embed guide.md
var guideText string

// Guide is the text “from phrase to clause”: how what people ask for is written in
// a contract, for people and models alike.
func Guide() string { return guideText }

// Pattern is one entry of the guide.
type Pattern struct {
	// Phrase is what people say.
	Phrase string
	// Advice is what to mind; often empty.
	Advice string
	// Example is a whole contract.
	Example string
}

// Patterns are the entries of the guide.
func Patterns() (out []Pattern) {
	for _, section := range strings.Split(guideText, "\n## ")[1:] {
		head, rest, _ := strings.Cut(section, "\n")
		advice, example, _ := strings.Cut(rest, "```\n")
		example, _, _ = strings.Cut(example, "```")
		out = append(out, Pattern{strings.TrimSpace(head), strings.TrimSpace(advice), example})
	}
	return out
}
