package terminal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Users are the users of a host and their groups, as they are now.
type Users interface {
	// Name returns the name of a user id, or [ErrNoUser].
	Name(uid uint32) (string, error)
	// Known returns nil when there is a user of this name, or [ErrNoUser].
	Known(name string) error
	// Groups returns the names of all groups that a user is in, or [ErrNoUser].
	Groups(name string) ([]string, error)
}

// ErrNoUser says that the host has no such user.
var ErrNoUser = errors.New("the host has no such user")

// hostUsers asks the host: its name service where kgent is built with cgo, and
// otherwise /etc/passwd and /etc/group alone. It remembers nothing.
type hostUsers struct{}

func (hostUsers) Name(uid uint32) (string, error) {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	var unknown user.UnknownUserIdError
	if errors.As(err, &unknown) {
		return "", ErrNoUser
	}
	if err != nil {
		return "", fmt.Errorf("looking up user %d: %w", uid, err)
	}
	return u.Username, nil
}

func (hostUsers) Known(name string) error {
	_, err := lookup(name)
	return err
}

func lookup(name string) (*user.User, error) {
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return nil, ErrNoUser
	}
	if err != nil {
		return nil, fmt.Errorf("looking up user %q: %w", name, err)
	}
	return u, nil
}

func (hostUsers) Groups(name string) ([]string, error) {
	u, err := lookup(name)
	if err != nil {
		return nil, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("looking up the groups of %q: %w", name, err)
	}
	var names []string
	for _, id := range ids {
		g, err := user.LookupGroupId(id)
		var unknown user.UnknownGroupIdError
		if errors.As(err, &unknown) {
			continue // a group without a name is in no policy
		}
		if err != nil {
			return nil, fmt.Errorf("looking up group %s: %w", id, err)
		}
		names = append(names, g.Name)
	}
	return names, nil
}

// peerOf returns the user who opened a connection, as the kernel noted it then.
func peerOf(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var fault error
	if err := raw.Control(func(fd uintptr) {
		cred, fault = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if fault != nil {
		return 0, fmt.Errorf("asking who connected: %w", fault)
	}
	return cred.Uid, nil
}

// Groups are the groups of a host's users, for a policy that is asked without a socket
// being served.
type Groups struct {
	Host  string
	Users Users // nil for the users of this host
}

// Member reports whether "terminal:<host>/<user>" is in "terminal:<host>/<group>", now.
func (g Groups) Member(_ context.Context, account, group string) (bool, error) {
	home := Surface + ":" + g.Host + "/"
	name, isUser := strings.CutPrefix(account, home)
	want, isGroup := strings.CutPrefix(group, home)
	if !isUser || !isGroup {
		return false, fmt.Errorf("this host knows the users and groups of %s only, not whether %s is in %s", g.Host, account, group)
	}
	users := g.Users
	if users == nil {
		users = hostUsers{}
	}
	groups, err := users.Groups(name)
	if errors.Is(err, ErrNoUser) {
		return false, nil
	}
	return err == nil && slices.Contains(groups, want), err
}
