package approvals_test

import (
	"testing"

	"go.uber.org/goleak"

	"kgent/executor/bus/rdb"
)

func TestMain(m *testing.M) {
	rdb.Quiet()
	goleak.VerifyTestMain(m)
}
