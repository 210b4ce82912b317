#!/bin/bash
#
# with-asan.sh: run a command, and all that it starts, with the run-time of
# AddressSanitizer.
#
#	test/with-asan.sh COMMAND [ARGUMENT]...
#
# A server that was built without it can then load an extension that was built
# with AddressSanitizer and UndefinedBehaviorSanitizer.  Both write to the log of
# the process, and end it on the first finding.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
gcc -shared -fPIC -Wl,-z,initfirst -o "$here/asan-first.so" "$here/asan-first.c"

# What a process leaves to its end is no leak.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1
LD_PRELOAD=$(gcc -print-file-name=libasan.so):$here/asan-first.so exec "$@"
