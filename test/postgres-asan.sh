#!/bin/bash
#
# postgres-asan.sh: what throwaway-server.sh starts in place of postgres when
# the extension was built with AddressSanitizer and UndefinedBehaviorSanitizer.
# Both write to the server's log, and end the process on the first finding.

set -euo pipefail
cd "$(dirname "$0")"
gcc -shared -fPIC -Wl,-z,initfirst -o asan-first.so asan-first.c

# What a server leaves to the end of its process is no leak.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1
LD_PRELOAD=$(gcc -print-file-name=libasan.so):$PWD/asan-first.so exec "$POSTGRES" "$@"
