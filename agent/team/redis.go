package team

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"kgent/retrieval/keyspace"
)

// Redis is a [Store] in Redis, shared by all bots.
//
// Each recipe carries a seal that only bots can make: one that somebody else wrote there is
// left out. Recipes do not expire; they are kept until they are removed.
//
//	kgent:recipes        hash  name: recipe (JSON)
//	kgent:recipes:seals  hash  name: seal
//
// and in a cluster the same, after kgent:{recipes}: instead of kgent:.
type Redis struct {
	client  redis.UniversalClient
	recipes string   // a key
	seals   string   // a key
	secrets [][]byte // the first one seals, all of them vouch
	// Warn hears of recipes that are left out; nil: nobody.
	Warn func(name string, err error)
}

// StoreSecret is the purpose of the secret of [NewRedis].
const StoreSecret = "team recipes v1"

// NewRedis returns the store. Recipes are sealed with secret; those that were sealed with
// one of others are believed, too.
func NewRedis(client redis.UniversalClient, secret []byte, others ...[]byte) (*Redis, error) {
	key := keyspace.State(client, "recipes") + "recipes"
	r := &Redis{client: client, recipes: key, seals: key + ":seals"}
	for _, s := range append([][]byte{secret}, others...) {
		if len(s) < sha256.Size {
			return nil, fmt.Errorf("opening the store of team recipes: a secret of %d bytes is too short, want %d", len(s), sha256.Size)
		}
		r.secrets = append(r.secrets, slices.Clone(s))
	}
	return r, nil
}

func sealOf(secret []byte, name string, raw []byte) string {
	h := hmac.New(sha256.New, secret)
	fmt.Fprintf(h, "%d:%s", len(name), name)
	h.Write(raw)
	return hex.EncodeToString(h.Sum(nil))
}

// tries is how often a recipe is put while others change what is kept.
const tries = 16

// Put implements [Store].
func (s *Redis) Put(ctx context.Context, r Recipe, fits func([]Recipe) error) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("keeping recipe %s: %w", r.Name, err)
	}
	put := func(tx *redis.Tx) error {
		if fits != nil {
			all, err := s.list(ctx, tx.Pipelined) // a transaction of its own would end the watch
			if err != nil {
				return err
			}
			if err := fits(all); err != nil {
				return unfit{err}
			}
		}
		there, err := tx.HExists(ctx, s.recipes, r.Name).Result()
		if err != nil {
			return err
		}
		n, err := tx.HLen(ctx, s.recipes).Result()
		if err != nil {
			return err
		}
		if !there && n >= MaxRecipes {
			return ErrFull
		}
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.HSet(ctx, s.recipes, r.Name, raw)
			p.HSet(ctx, s.seals, r.Name, sealOf(s.secrets[0], r.Name, raw))
			return nil
		})
		return err
	}
	// What was read holds if nobody has written since: else all of it is done again.
	for range tries {
		err = s.client.Watch(ctx, put, s.recipes)
		if !errors.Is(err, redis.TxFailedErr) {
			break
		}
	}
	var no unfit
	switch {
	case err == nil, errors.Is(err, ErrFull):
		return err
	case errors.As(err, &no):
		return no.error
	}
	return fmt.Errorf("keeping recipe %s: %w", r.Name, err)
}

// unfit is what a recipe was refused for by who keeps it.
type unfit struct{ error }

// Remove implements [Store].
func (s *Redis) Remove(ctx context.Context, name string) error {
	var gone *redis.IntCmd
	_, err := s.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		gone = p.HDel(ctx, s.recipes, name)
		p.HDel(ctx, s.seals, name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("removing recipe %s: %w", name, err)
	}
	if gone.Val() == 0 {
		return ErrNone
	}
	return nil
}

// List implements [Store].
func (s *Redis) List(ctx context.Context) ([]Recipe, error) { return s.list(ctx, s.client.TxPipelined) }

// list is List by a way of sending commands.
func (s *Redis) list(ctx context.Context, send func(context.Context, func(redis.Pipeliner) error) ([]redis.Cmder, error)) ([]Recipe, error) {
	var all, seals *redis.MapStringStringCmd
	if _, err := send(ctx, func(p redis.Pipeliner) error {
		all, seals = p.HGetAll(ctx, s.recipes), p.HGetAll(ctx, s.seals)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("reading team recipes: %w", err)
	}
	var out []Recipe
	for name, raw := range all.Val() {
		r, err := s.open(name, []byte(raw), seals.Val()[name])
		if err != nil {
			if s.Warn != nil {
				s.Warn(name, err)
			}
			continue
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Recipe) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Reseal seals all recipes with the present secret, so that they outlive the one before it.
func (s *Redis) Reseal(ctx context.Context) error {
	if len(s.secrets) == 1 {
		return nil
	}
	all, err := s.List(ctx)
	if err != nil {
		return err
	}
	for _, r := range all {
		if err := s.Put(ctx, r, nil); err != nil && !errors.Is(err, ErrFull) {
			return err
		}
	}
	return nil
}

func (s *Redis) open(name string, raw []byte, seal string) (r Recipe, err error) {
	if !slices.ContainsFunc(s.secrets, func(k []byte) bool { return hmac.Equal([]byte(seal), []byte(sealOf(k, name, raw))) }) {
		return r, errors.New("its seal does not hold: somebody else wrote it")
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, err
	}
	if r.Name != name {
		return r, errors.New("it has another name than it is kept under")
	}
	return r, nil
}
