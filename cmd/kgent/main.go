// Command kgent turns a sentence into a kernel trace that people have agreed
// to run. See `kgent help` and the README.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"kgent/agent/eval/workload"
)

func main() {
	workload.Main() // a process that `kgent eval` has started for a workload

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends in order: detach, account, summary. The second
	// ends at once; the kernel then detaches.
	context.AfterFunc(ctx, stop)
	// Writing to a closed pipe shall be an error, not the end of the process.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(run(ctx, os.Args[1:], system{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv}))
}
