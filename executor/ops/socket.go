package ops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Listen makes a unix socket that its owner and the users of a group may open
// (mode 0660); without a group, the process's own. It appears under its name
// when that holds. A socket that nobody listens at is replaced.
func Listen(path, group string) (_ net.Listener, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("making the socket %s: %w", path, err)
		}
	}()
	gid := -1
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, err
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return nil, err
		}
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return nil, fmt.Errorf("others may write to %s, so they could put a socket of their own there", dir)
	}
	if err := vacant(path); err != nil {
		return nil, err
	}
	// Until its permissions are set nobody else reaches it.
	closed, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(closed)
	made := filepath.Join(closed, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(made, 0o660); err == nil && gid >= 0 {
		err = os.Chown(made, -1, gid)
	}
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		os.Remove(made)
		return nil, errors.Join(err, l.Close())
	}
	return &socket{l, path}, nil
}

// vacant fails when something is at path that is not a socket nobody listens at.
func vacant(path string) error {
	old, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case old.Mode().Type() != fs.ModeSocket:
		return errors.New("something else is there")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return errors.New("another executor listens there; each needs a socket of its own")
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return nil
}

// socket is a listener whose file goes with it.
type socket struct {
	*net.UnixListener
	path string
}

// Close implements net.Listener.
func (s *socket) Close() error {
	err := s.UnixListener.Close()
	// Another executor may have put its own there.
	if vacant(s.path) == nil {
		if gone := os.Remove(s.path); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// peerKey is the context key of who is at the other end of a unix socket.
type peerKey struct{}

// withPeer notes who that is, as the kernel says.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	var optErr error
	if err := raw.Control(func(fd uintptr) { cred, optErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil || optErr != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, cred.Uid)
}

// peer names who asks: the user of this host, or the number of one that has no
// name here.
func peer(ctx context.Context) string {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	if !ok {
		return ""
	}
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}
