#!/bin/bash
#
# postgres-asan.sh: what throwaway-server.sh starts in place of postgres when
# the extension was built with sanitizers.  What they find is written to the
# server's log.

set -euo pipefail
exec "$(dirname "$0")/with-asan.sh" "$POSTGRES" "$@"
