#!/bin/bash
#
# postgres-valgrind.sh: throwaway-server.sh starts this in place of postgres to run
# every process of the server under valgrind.  Findings are written to the server's
# log.

set -euo pipefail
exec valgrind --quiet --trace-children=yes --leak-check=no --error-limit=no --vgdb=no --num-callers=20 \
	--suppressions="$(dirname "$0")/valgrind.supp" "$POSTGRES" "$@"
