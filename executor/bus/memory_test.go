package bus_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"kgent/executor/bus"
	"kgent/executor/bus/bustest"
	"kgent/executor/bus/rdb"
)

func TestMain(m *testing.M) {
	rdb.Quiet()
	goleak.VerifyTestMain(m)
}

func TestMemory(t *testing.T) {
	bustest.Run(t, func(*testing.T) bus.Bus { return bus.NewMemory() })
}

// What has expired is gone, but not from under somebody who reads it.
func TestMemoryForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.NewMemory()
		for i := range 1000 {
			run := fmt.Sprintf("run-%d", i)
			for _, err := range []error{
				b.Publish(t.Context(), bus.Chunk{Run: run, Node: "n", Lines: make([]byte, 1000)}),
				b.Stop(t.Context(), run),
				b.Announce(t.Context(), bus.NodeInfo{Name: run}, time.Minute),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		got := make(chan bus.Chunk)
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.Follow(t.Context(), "read", []string{"n"}, func(c bus.Chunk) error {
				got <- c
				if c.Final {
					return fmt.Errorf("that was all")
				}
				return nil
			})
		}()
		b.Publish(t.Context(), bus.Chunk{Run: "read", Node: "n", Seq: 1})
		<-got
		time.Sleep(bus.StopKept + bus.OutputKept)
		b.Publish(t.Context(), bus.Chunk{Run: "new", Node: "n"})
		if size := b.Size(); !strings.Contains(size, "2 outputs, 0 leases, 0 nodes, 0 facts") {
			t.Errorf("it still holds %s", size)
		}
		b.Publish(t.Context(), bus.Chunk{Run: "read", Node: "n", Seq: 2, Final: true})
		if c := <-got; c.Seq != 2 {
			t.Errorf("the follower of a long silent run got chunk %d, want 2", c.Seq)
		}
		<-done
	})
}

// Facts stay for as long as a node that names them is listed.
func TestMemoryKeepsFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.NewMemory()
		blob := []byte("facts")
		hash := bus.FactsHash(blob)
		if err := b.PublishFacts(t.Context(), hash, blob); err != nil {
			t.Fatal(err)
		}
		has := func() bool {
			// Anything that adds something sweeps.
			b.Stop(t.Context(), "run")
			_, err := b.Facts(t.Context(), hash)
			return err == nil
		}
		for range 5 {
			time.Sleep(bus.FactsKept - time.Minute)
			b.Announce(t.Context(), bus.NodeInfo{Name: "n", Facts: hash}, 2*time.Minute)
			b.Nodes(t.Context())
			if !has() {
				t.Fatal("the facts are gone")
			}
		}
		time.Sleep(bus.FactsKept + time.Minute)
		if has() {
			t.Error("facts that nobody names are still there")
		}
	})
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "db-3", "ip-10-0-0-1.eu_west.internal", "9", strings.Repeat("x", 253)} {
		if err := bus.CheckName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "-", "_a", ".a", "a b", "a:b", "a\x00", "é", strings.Repeat("x", 254)} {
		if bus.CheckName(bad) == nil {
			t.Errorf("%q passes", bad)
		}
	}
}
