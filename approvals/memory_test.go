package approvals_test

import (
	"testing"

	"kgent/approvals"
	"kgent/approvals/approvalstest"
)

func TestMemory(t *testing.T) {
	approvalstest.Store(t, func(*testing.T) approvals.Store { return &approvals.Memory{} })
}
