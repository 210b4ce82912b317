package main

import "syscall"

// dieAfter makes the service kill itself, as kill -9 would, when it has passed
// the phase.  The test needs it.
func dieAfter(phase string) func(string) {
	return func(passed string) {
		if passed == phase {
			syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}
