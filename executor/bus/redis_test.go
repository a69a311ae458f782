package bus_test

import (
	"testing"

	"kgent/executor/bus"
	"kgent/executor/bus/bustest"
	"kgent/executor/bus/rdb/rdbtest"
)

func TestRedis(t *testing.T) {
	s := rdbtest.Start(t)
	bustest.Run(t, func(t *testing.T) bus.Bus { return bus.NewRedis(s.Client()) })
}
