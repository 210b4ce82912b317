#!/bin/bash
#
# run.sh: run one part of the benchmark, on a server of its own.
#
#	bench/run.sh instructions	what a server does for each candidate:
#					instructions and WAL
#
# Installs what that needs and says so.  What is measured is left in
# .build/bench/PART.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source-path=SCRIPTDIR source=../test/packages.sh
. test/packages.sh

# on_server PART LINE... -- COMMAND...: on a server with these settings.
on_server() {
	local part=$1 lines=()
	shift
	while [ "$1" != -- ]; do
		lines+=(-c "$1")
		shift
	done
	shift
	test/throwaway-server.sh -o ".build/bench/$part" -c "shared_preload_libraries = 'idempotency'" "${lines[@]}" "$@"
}

case ${1:-} in
	instructions)
		ensure_packages valgrind=valgrind
		on_server instructions 'idempotency.worker = off' -- bench/instructions.sh
		;;
	*)
		echo "usage: bench/run.sh instructions" >&2
		exit 2
		;;
esac
