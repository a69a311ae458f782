package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"kgent/approvals"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	"kgent/executor/job"
	"kgent/retrieval"
)

// What a key directory holds.
const (
	signingFile = "signing.key"  // the key that the bot signs with
	nextFile    = "next.key"     // the one it will sign with
	previousKey = "previous.key" // the one it signed with before
	trustedDir  = "trusted"      // public keys, for executors
	publicExt   = ".pub"         // of their names
	retiredFile = "retired.time" // when the key before was last signed with
)

// overlap is how long after a rotation grants signed with the old key can
// still be on their way to a node.
const overlap = job.MaxWindow + 2*job.MaxSkew

func keysCommand(sys system) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "make, show and rotate the key that grants are signed with",
		Long: `A node runs only what is signed with a key that it trusts. The bot has the
private key; executors are given public keys. A key directory holds

  signing.key   what the bot signs with; only its owner may read it
  trusted/      the public keys: copy this directory to every node

To begin:

  kgent keys new --dir /etc/kgent/keys
  scp -r /etc/kgent/keys/trusted db-1:/etc/kgent/        and so on
  kgent executor --node-name db-1 --keys /etc/kgent/trusted …

A key is replaced in three steps, so that nodes trust both for a while:
see kgent keys rotate --help.

Exit codes: 0 done, 1 something is in the way, 2 the command line cannot be read.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var dir string
	cmd.PersistentFlags().StringVar(&dir, "dir", "/etc/kgent/keys", "the key `directory`")
	cmd.AddCommand(
		&cobra.Command{
			Use:   "new",
			Short: "make the first key",
			Long:  "new makes a key directory with a signing key and its public half. It replaces nothing.",
			Args:  cobra.NoArgs,
			RunE:  func(*cobra.Command, []string) error { return keyDir(dir).create(sys.out) },
		},
		&cobra.Command{
			Use:   "show",
			Short: "say which keys there are and what is done with them",
			Args:  cobra.NoArgs,
			RunE:  func(*cobra.Command, []string) error { return keyDir(dir).show(sys.out, time.Now()) },
		},
		&cobra.Command{
			Use:   "rotate prepare|switch|finish",
			Short: "replace the key, in three steps",
			Long: `rotate replaces the signing key without a moment in which nodes refuse what was
approved:

  kgent keys rotate prepare   makes the next key and trusts it as well.
                              Copy trusted/ to every node. With several bots,
                              copy the directory to each, and restart them.
  kgent keys rotate switch    makes the next key the signing key.
                              Copy it to the other bots; restart every bot.
  kgent keys rotate finish    ends the trust in the old key, once every grant
                              signed with it has expired. Copy trusted/ to every
                              node, and remove there what is no longer in it.
                              Restart the bot.

What the bot keeps in Redis is sealed with its key, too. Until finish it goes on
with what it sealed with the old one: no question has to be asked again. Of what
was asked before switch and is still open at finish, it then knows nothing any
more, so finish when there is nothing left of it; there is no hurry.

Executors read their keys again for every job: they need no restart. If a key
has become known to others, do not wait: prepare, copy and switch at once, remove
the old key's .pub file on every node and in the bot's own trusted/, and restart
the bot. It then believes nothing that was sealed with that key.`,
			Args: func(cmd *cobra.Command, args []string) error {
				return asUsage(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)(cmd, args))
			},
			ValidArgs: []string{"prepare", "switch", "finish"},
			RunE: func(_ *cobra.Command, args []string) error {
				return keyDir(dir).rotate(sys.out, args[0], time.Now())
			},
		},
		aclCommand(sys),
	)
	return cmd
}

// keyDir is a key directory.
type keyDir string

func (d keyDir) path(names ...string) string {
	return filepath.Join(append([]string{string(d)}, names...)...)
}

// public is the file of a public key.
func (d keyDir) public(id string) string { return d.path(trustedDir, id+publicExt) }

func (d keyDir) create(out io.Writer) error {
	if err := os.MkdirAll(d.path(trustedDir), 0o755); err != nil {
		return fmt.Errorf("making key directory: %w", err)
	}
	key, err := d.add(signingFile)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making the first key: %s has one; to replace it: kgent keys rotate --help", d)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is in %s.\nCopy %s to every node.\n", key, d.path(signingFile), d.path(trustedDir))
	return nil
}

// add makes a key and trusts it. The private half comes last: a key that is
// signed with is trusted.
func (d keyDir) add(name string) (*approvals.Key, error) {
	if _, err := os.Lstat(d.path(name)); err == nil {
		return nil, fmt.Errorf("making %s: %w", name, os.ErrExist)
	}
	key, err := approvals.NewKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	if err := key.SavePublic(d.public(key.ID())); err != nil {
		return nil, err
	}
	if err := key.Save(d.path(name)); err != nil {
		return nil, errors.Join(err, os.Remove(d.public(key.ID())))
	}
	return key, nil
}

// load returns the signing key and the next, nil if there is none.
func (d keyDir) load() (signing, next *approvals.Key, err error) {
	if signing, err = approvals.LoadKey(d.path(signingFile)); errors.Is(err, os.ErrNotExist) {
		if public, _ := filepath.Glob(filepath.Join(escapeGlob(string(d)), "*"+publicExt)); len(public) > 0 {
			return nil, nil, fmt.Errorf("%w: %s holds public keys, as nodes are given them; the bot needs the directory above it, with %s", err, d, signingFile)
		}
		return nil, nil, fmt.Errorf("%w; to make one: kgent keys new --dir %s", err, d)
	} else if err != nil {
		return nil, nil, err
	}
	if next, err = approvals.LoadKey(d.path(nextFile)); errors.Is(err, os.ErrNotExist) {
		return signing, nil, nil
	}
	return signing, next, err
}

// previous returns the key that was signed with before, nil if there is none.
func (d keyDir) previous() (*approvals.Key, error) {
	key, err := approvals.LoadKey(d.path(previousKey))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return key, err
}

// seals are the secrets for a purpose that follow from the bot's own keys.
type seals struct {
	// current follows from the signing key, and seals.
	current []byte
	// others follow from the key before it and from the next, as long as they
	// are trusted, and vouch for what bots sealed before a switch, or seal after
	// it while this one has not been restarted.
	others [][]byte
}

// seals derives the secrets for a purpose. A key whose public half is gone from
// the directory vouches for nothing: that is how one is given up that has become
// known to others.
func (d keyDir) seals(purpose string) (seals, error) {
	var s seals
	signing, next, err := d.load()
	if err != nil {
		return s, err
	}
	previous, err := d.previous()
	if err != nil {
		return s, err
	}
	if s.current, err = signing.Secret(purpose); err != nil {
		return s, err
	}
	for _, k := range []*approvals.Key{previous, next} {
		if k == nil {
			continue
		}
		public, err := approvals.LoadPublic(d.public(k.ID()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return s, err
		}
		if !k.Public().Equal(public) {
			return s, fmt.Errorf("%s holds another key than its name says", d.public(k.ID()))
		}
		secret, err := k.Secret(purpose)
		if err != nil {
			return s, err
		}
		s.others = append(s.others, secret)
	}
	return s, nil
}

// retired returns since when the keys that are neither signed with nor will
// be are of no use; zero when that is not known.
func (d keyDir) retired() (time.Time, error) {
	b, err := os.ReadFile(d.path(retiredFile))
	if errors.Is(err, os.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	at, err := time.Parse(time.RFC3339, strings.TrimSpace(string(b)))
	if err != nil {
		return time.Time{}, fmt.Errorf("reading %s: it holds no time", d.path(retiredFile))
	}
	return at, nil
}

func (d keyDir) show(out io.Writer, now time.Time) error {
	signing, next, err := d.load()
	if err != nil {
		return err
	}
	retired, err := d.retired()
	if err != nil {
		return err
	}
	trusted, err := loadTrusted(d.path(trustedDir))
	if err != nil {
		return err
	}
	ids := map[string]bool{}
	for _, k := range trusted {
		id := job.KeyID(k)
		ids[id] = true
		what := "trusted; rotate finish ends that"
		switch {
		case id == signing.ID():
			what = "trusted, signs"
		case next != nil && id == next.ID():
			what = "trusted, signs after rotate switch"
		case !retired.IsZero() && now.Before(retired.Add(overlap)):
			what = fmt.Sprintf("trusted until rotate finish, not before %s", retired.Add(overlap).UTC().Format(time.RFC3339))
		}
		fmt.Fprintf(out, "%s  %s\n", id, what)
	}
	for _, k := range []*approvals.Key{signing, next} {
		if k != nil && !ids[k.ID()] {
			return fmt.Errorf("%s is not trusted: %s is missing", k, d.public(k.ID()))
		}
	}
	return nil
}

func (d keyDir) rotate(out io.Writer, step string, now time.Time) error {
	signing, next, err := d.load()
	if err != nil {
		return err
	}
	switch step {
	case "prepare":
		if next != nil {
			return fmt.Errorf("preparing a rotation: one is prepared, with %s; go on with: kgent keys rotate switch", next)
		}
		key, err := d.add(nextFile)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s is trusted as well.\nCopy %s to every node, then: kgent keys rotate switch\n", key, d.path(trustedDir))
	case "switch":
		if next == nil {
			return errors.New("switching keys: there is no next key; first: kgent keys rotate prepare")
		}
		// The time first: it must not be missing, and may be too early.
		if err := replaceFile(d.path(retiredFile), []byte(now.UTC().Format(time.RFC3339)+"\n")); err != nil {
			return fmt.Errorf("switching keys: %w", err)
		}
		// The old key stays until finish: what the bot keeps is sealed with it.
		err := os.Remove(d.path(previousKey))
		if err == nil || errors.Is(err, os.ErrNotExist) {
			err = os.Link(d.path(signingFile), d.path(previousKey))
		}
		if err == nil {
			err = os.Rename(d.path(nextFile), d.path(signingFile))
		}
		if err != nil {
			return fmt.Errorf("switching keys: %w", err)
		}
		fmt.Fprintf(out, "Grants are signed with %s once the bot is restarted; %s stays trusted.\nIn %v: kgent keys rotate finish\n", next, signing, overlap)
	case "finish":
		if next != nil {
			return errors.New("finishing the rotation: the next key is not in use; first: kgent keys rotate switch")
		}
		at, err := d.retired()
		if err != nil {
			return err
		}
		if until := at.Add(overlap); !at.IsZero() && now.Before(until) {
			return fmt.Errorf("finishing the rotation: grants signed with the old key are valid until %s; wait, or remove its .pub file if it has become known", until.UTC().Format(time.RFC3339))
		}
		trusted, err := loadTrusted(d.path(trustedDir))
		if err != nil {
			return err
		}
		if err := os.Remove(d.path(previousKey)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("finishing the rotation: %w", err)
		}
		removed := 0
		for _, k := range trusted {
			if id := job.KeyID(k); id != signing.ID() {
				if err := os.Remove(d.public(id)); err != nil {
					return fmt.Errorf("ending the trust in key %s: %w", id, err)
				}
				fmt.Fprintf(out, "Key %s is not trusted any more.\n", id)
				removed++
			}
		}
		if removed == 0 {
			fmt.Fprintf(out, "Only %s is trusted: there is nothing to finish.\n", signing)
			return nil
		}
		fmt.Fprintf(out, "Copy %s to every node, and remove there what is no longer in it. Restart the bot.\n", d.path(trustedDir))
	}
	return nil
}

// replaceFile writes a file that is afterwards there as it was or as it shall
// be.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// loadTrusted reads the public keys that a node trusts: one file, or every .pub
// file of a directory. Whoever may write there decides what runs on the node,
// so nobody but its owner may.
func loadTrusted(path string) ([]ed25519.PublicKey, error) {
	fail := func(err error) ([]ed25519.PublicKey, error) {
		return nil, fmt.Errorf("loading trusted keys: %w", err)
	}
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return fail(fmt.Errorf("%w: copy %s/ of the bot's key directory to this node, and name it with --keys", err, trustedDir))
	}
	if err != nil {
		return fail(err)
	}
	files := []string{path}
	if info.IsDir() {
		if err := onlyOwnerWrites(path, info); err != nil {
			return fail(err)
		}
		if files, err = filepath.Glob(filepath.Join(escapeGlob(path), "*"+publicExt)); err != nil {
			return fail(err)
		}
		if len(files) == 0 {
			if sub := filepath.Join(path, trustedDir); exists(sub) {
				return fail(fmt.Errorf("%s holds no %s file: the public keys are in %s", path, publicExt, sub))
			}
			return fail(fmt.Errorf("%s holds no %s file: copy those in %s/ of the bot's key directory there", path, publicExt, trustedDir))
		}
	}
	var keys []ed25519.PublicKey
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return fail(err)
		}
		if err := onlyOwnerWrites(file, info); err != nil {
			return fail(err)
		}
		key, err := approvals.LoadPublic(file)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func onlyOwnerWrites(path string, info os.FileInfo) error {
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("others than its owner may write to %s, and so decide what runs here; run: chmod go-w %s", path, path)
	}
	return nil
}

// escapeGlob makes a path mean itself in a pattern.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func aclCommand(sys system) *cobra.Command {
	var node, passwordFile string
	var bot, redis8 bool
	cmd := &cobra.Command{
		Use:   "acl (--bot [--redis8] | --node NAME) --password-file FILE",
		Short: "print a Redis user for the bot, or for one node",
		Long: `acl prints one line for the ACL file of Redis (aclfile in redis.conf; see
deploy/redis): a user that may do what the bot, or the executor of one node,
needs, and nothing else. The line holds the hash of the password in FILE, which
is made with a new one if it does not exist.

  kgent keys acl --bot --password-file bot.password >> users.acl
  kgent keys acl --node db-1 --password-file db-1.password >> users.acl
  redis-cli ACL LOAD

With --redis8 the bot may also use the vector sets of Redis 8, in which bots share
what their search needs; an older Redis refuses a file with these commands. Without
the flag, the Redis of REDIS_URL is asked, if that is set, whether it has them.

The bot and the executors find the password by REDIS_PASSWORD_FILE:

  REDIS_URL=rediss://` + bus.NodeUser("db-1") + `@redis.example:6379 REDIS_PASSWORD_FILE=db-1.password kgent executor …`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if bot == (node != "") || passwordFile == "" {
				return usageError{errors.New("keys acl: want --bot or --node NAME, and --password-file FILE")}
			}
			user, rules := bus.BotUser, bus.BotRules()
			if bot && !cmd.Flags().Changed("redis8") {
				redis8 = vectorsThere(cmd.Context(), sys)
			}
			if bot && redis8 {
				rules = append(rules, retrieval.Rules()...)
			}
			if node != "" {
				var err error
				user = bus.NodeUser(node)
				if rules, err = bus.NodeRules(node); err != nil {
					return usageError{err}
				}
			}
			password, err := passwordFrom(passwordFile)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(password)
			_, err = fmt.Fprintf(sys.out, "user %s on #%s %s\n", user, hex.EncodeToString(sum[:]), strings.Join(rules, " "))
			return err
		},
	}
	cmd.Flags().BoolVar(&bot, "bot", false, "the user of the bot")
	cmd.Flags().StringVar(&node, "node", "", "the user of the executor of the node `NAME`")
	cmd.Flags().BoolVar(&redis8, "redis8", false, "with --bot: for Redis 8 or later, whose vector sets the bot may use")
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "`FILE` with the password, made if it does not exist")
	return cmd
}

// vectorsThere asks the Redis of the environment whether it has vector sets. What it cannot tell it
// says: a file without them is good for every Redis.
func vectorsThere(ctx context.Context, sys system) bool {
	config, ok, err := rdb.FromEnv(sys.getenv)
	if err == nil && !ok {
		sys.notice("for a Redis of any version; --redis8 adds the vector sets of Redis 8")
		return false
	}
	var has bool
	if err == nil {
		var client redis.UniversalClient
		if client, err = rdb.New(config); err == nil {
			defer client.Close()
			has, err = retrieval.HasVectorSets(ctx, client)
		}
	}
	if err != nil {
		sys.notice(fmt.Sprintf("for a Redis of any version: whether the one of REDIS_URL has vector sets is not known (%s); --redis8 adds them", harmless(err)))
	}
	return has
}

// passwordFrom reads a password, or makes one.
func passwordFrom(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		b = []byte(rand.Text() + rand.Text())
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, fmt.Errorf("making a password: %w", err)
		}
		_, err = f.Write(append(slices.Clone(b), '\n'))
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return nil, fmt.Errorf("making a password: %w", err)
		}
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a password: %w", err)
	}
	b = bytes.TrimRight(b, "\r\n")
	if len(b) < 16 || bytes.ContainsAny(b, "\r\n") {
		return nil, fmt.Errorf("reading a password: %s is not one line of at least 16 characters", path)
	}
	return b, nil
}

// trusting reads a node's keys again for every job, so that trust begins and
// ends with a file.
type trusting struct {
	bus.Node
	path     string
	verifier *job.Verifier // used by Consume's callback only
	failed   func(error)
}

// Consume implements bus.Node.
func (t trusting) Consume(ctx context.Context, node, consumer string, each func(bus.Job)) error {
	return t.Node.Consume(ctx, node, consumer, func(j bus.Job) {
		keys, err := loadTrusted(t.path)
		if err != nil {
			t.failed(err) // and nothing is trusted
		}
		t.verifier.Keys = keys
		each(j)
	})
}
