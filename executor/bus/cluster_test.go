package bus_test

import (
	"testing"

	"kgent/executor/bus"
	"kgent/executor/bus/bustest"
	"kgent/executor/bus/rdb/rdbtest"
)

// The contract on a cluster, with users that may do no more than they must.
func TestCluster(t *testing.T) {
	c := rdbtest.StartCluster(t, 0, rdbtest.ACL())
	u := clusterUsers(t, c)
	bustest.Run(t, func(*testing.T) bus.Bus { return u })
	// Nobody was refused anything on the way.
	for _, s := range c.Servers() {
		if log := s.Client().ACLLog(t.Context(), 10).Val(); len(log) > 0 {
			t.Errorf("refused: %+v", log[0])
		}
	}
}
