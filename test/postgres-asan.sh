#!/bin/bash
#
# postgres-asan.sh: throwaway-server.sh starts this in place of postgres if the
# extension was built with sanitizers.  Findings are written to the server's log.

set -euo pipefail
exec "$(dirname "$0")/with-asan.sh" "$POSTGRES" "$@"
