package recipetest

import "runtime"

// The first goroutine stays on the first thread, whose name is the process's,
// so that [Thread] never renames that one.
func init() { runtime.LockOSThread() }
