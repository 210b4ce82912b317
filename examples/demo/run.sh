#!/bin/bash
#
# run.sh: set up the payments service, run the storm against it, and search the
# server's log for errors that no client would notice.
#
# Runs in the environment that test/throwaway-server.sh creates.  Arguments are
# passed to the storm.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

gcc -std=gnu11 -O2 -Wall -Wextra -Werror -I"$("$PG_CONFIG" --includedir)" storm.c -o storm \
	-L"$("$PG_CONFIG" --libdir)" -Wl,-rpath,"$("$PG_CONFIG" --libdir)" -lpq
psql -X -q -v ON_ERROR_STOP=1 -f service.sql

status=0
./storm "$@" || status=$?

# One backend was killed on purpose.  Any other that died is a defect, and so is an
# internal error.  (A LOG line is not: a backend that is just ending when the
# server crashes logs its closed socket as XX000.)
log=$PGHOST/server.log
if grep -E 'PANIC: |TRAP: |was terminated by signal ([^9]|9[0-9])| XX[0-9A-Z]{3} (ERROR|FATAL): ' "$log"; then
	echo "FAILED: the server's log has the lines above"
	status=1
fi
[ "$status" != 0 ] || echo "Every payment was made once, and every retry got the first answer."
exit "$status"
