#!/bin/bash
#
# postgres-valgrind.sh: what throwaway-server.sh starts in place of postgres to
# have valgrind watch every process of the server.  What it finds is written to
# the server's log.

set -euo pipefail
exec valgrind --quiet --trace-children=yes --leak-check=no --error-limit=no --vgdb=no --num-callers=20 \
	--suppressions="$(dirname "$0")/valgrind.supp" "$POSTGRES" "$@"
