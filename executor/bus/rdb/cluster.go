package rdb

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// refreshEvery is how old a client's knowledge of who has which slot becomes at
// most, while it is used.
const refreshEvery = 10 * time.Second

// newCluster returns a client of the cluster that these servers are of.
func newCluster(o *redis.Options, servers []string) *redis.ClusterClient {
	c := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:                      servers,
		Username:                   o.Username,
		Password:                   o.Password,
		CredentialsProviderContext: o.CredentialsProviderContext,
		DisableIdentity:            o.DisableIdentity,
		ContextTimeoutEnabled:      o.ContextTimeoutEnabled,
		DialTimeout:                o.DialTimeout,
		DialerRetries:              o.DialerRetries,
		ReadTimeout:                o.ReadTimeout,
		WriteTimeout:               o.WriteTimeout,
		MaxRetries:                 o.MaxRetries,
		TLSConfig:                  o.TLSConfig,
		MaintNotificationsConfig:   o.MaintNotificationsConfig,
		ClusterStateReloadInterval: refreshEvery,
		// Each command goes where its first key is; COMMAND, by which it could be
		// more, is not for nodes.
		DisableRoutingPolicies: true,
	})
	c.AddHook(once{c})
	return c
}

// once keeps a client of a cluster from repeating commands that may have been
// done: only those go on that a server has sent elsewhere (MOVED, ASK). When a
// server is out of reach the client asks the others who has its slots now.
type once struct{ client *redis.ClusterClient }

// sent is a command that is not repeated.
type sent struct{ redis.Cmder }

func (sent) NoRetry() bool { return true }

func (once) DialHook(next redis.DialHook) redis.DialHook { return next }

func (o once) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, sent{cmd})
		o.failed(ctx, err)
		return err
	}
}

func (o once) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		all := make([]redis.Cmder, len(cmds))
		for i, cmd := range cmds {
			all[i] = sent{cmd}
		}
		err := next(ctx, all)
		o.failed(ctx, err)
		return err
	}
}

// failed looks for the servers' roles anew after an error that is none of a
// server's.
func (o once) failed(ctx context.Context, err error) {
	var answer redis.Error
	if err == nil || errors.As(err, &answer) || errors.Is(err, context.Canceled) {
		return
	}
	o.client.ReloadState(ctx)
}

// checkCluster asks each primary who it is.
func checkCluster(ctx context.Context, c *redis.ClusterClient) error {
	err := c.ForEachMaster(ctx, func(ctx context.Context, one *redis.Client) error {
		if err := check(ctx, one, "cluster"); err != nil {
			return checked{err}
		}
		return nil
	})
	var said checked
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said):
		return said.error
	}
	return explain(err, c.Options().TLSConfig != nil)
}

// checked is an error that has been explained.
type checked struct{ error }
