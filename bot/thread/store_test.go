package thread_test

import (
	"testing"
	"time"

	"kgent/bot/thread"
	"kgent/bot/thread/threadtest"
	"kgent/executor/bus/rdb/rdbtest"
)

const visibility = 300 * time.Millisecond

func TestMemory(t *testing.T) {
	threadtest.Run(t, time.Now, func(t *testing.T) thread.Store {
		s := thread.NewMemory(time.Now)
		thread.SetVisibility(s, visibility)
		return s
	})
}

func TestRedis(t *testing.T) {
	server := rdbtest.Start(t)
	threadtest.Run(t, time.Now, func(t *testing.T) thread.Store {
		db := server.Client()
		if err := db.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		s := thread.NewRedis(db, time.Now)
		thread.SetVisibility(s, visibility)
		return s
	})
}
