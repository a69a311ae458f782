package agent

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Set reads a budget such as "tries=4 tokens=60000 money=0.20 time=2m" over the one it is called
// on: what is not named stays.
func (b Budget) Set(text string) (Budget, error) {
	err := settings(text, map[string]func(string) error{
		"tries":     number(&b.Tries, 1, 100),
		"contracts": number(&b.Contracts, 0, 100),
		"tokens":    number(&b.Tokens, 1000, 1<<31-1),
		"money":     money(&b.Money),
		"time":      span(&b.Time, time.Second, 24*time.Hour),
	})
	return b, err
}

// Set reads an effort such as "independent=no samples=3 ask=yes tools=8" over the one it is called
// on: what is not named stays.
func (e Effort) Set(text string) (Effort, error) {
	err := settings(text, map[string]func(string) error{
		"independent": yesNo(&e.Independent),
		"samples":     number(&e.Samples, 1, 16),
		"ask":         yesNo(&e.Ask),
		"split":       yesNo(&e.Split),
		"comprehend":  yesNo(&e.Comprehend),
		"tools":       number(&e.Tools.Calls, 0, 200),
		"tools-bytes": number(&e.Tools.Bytes, 0, 1<<24),
		"tools-time":  span(&e.Tools.Time, 0, time.Hour),
	})
	return e, err
}

// settings reads name=value pairs, which commas or spaces divide.
func settings(text string, of map[string]func(string) error) error {
	for _, pair := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }) {
		name, value, ok := strings.Cut(pair, "=")
		set := of[name]
		if !ok || set == nil {
			return fmt.Errorf("reading %q: want name=value with one of %s", pair, strings.Join(slices.Sorted(maps.Keys(of)), ", "))
		}
		if err := set(value); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
	return nil
}

func number(to *int, least, most int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return fmt.Errorf("%q: want a number from %d to %d", s, least, most)
		}
		*to = n
		return nil
	}
}

func money(to *float64) func(string) error {
	return func(s string) error {
		x, err := strconv.ParseFloat(s, 64)
		if err != nil || !(x >= 0 && x < 1e6) {
			return fmt.Errorf("%q: want an amount in the currency of the prices, such as 0.50", s)
		}
		*to = x
		return nil
	}
}

func span(to *time.Duration, least, most time.Duration) func(string) error {
	return func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < least || d > most {
			return fmt.Errorf("%q: want a duration from %v to %v, such as 90s", s, least, most)
		}
		*to = d
		return nil
	}
}

func yesNo(to *bool) func(string) error {
	return func(s string) error {
		switch strings.ToLower(s) {
		case "yes", "true", "on", "1":
			*to = true
		case "no", "false", "off", "0":
			*to = false
		default:
			return fmt.Errorf("%q: want yes or no", s)
		}
		return nil
	}
}
