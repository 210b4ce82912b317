#!/bin/bash
#
# run.sh: run the benchmark, or a part of it, on servers of its own.
#
#	bench/run.sh all		the parts that take less than ten minutes;
#					writes REPORT.md, TARGETS.md and their figures
#	bench/run.sh large		times among 20 million keys, memory, purge
#	bench/run.sh kinds		WAL and instructions by kind of key, among up to 20
#					million keys
#	bench/run.sh churn		an hour's churn
#	bench/run.sh instructions	only instructions and WAL of each candidate
#
# After large, kinds and churn the reports are written again if "all" has run.
# Installs the packages that it needs and says so.  The results are in .build/bench.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source-path=SCRIPTDIR source=../test/packages.sh
. test/packages.sh

# on_server NAME LINE... -- COMMAND...: on a server with these settings.
on_server() {
	local name=$1 lines=()
	shift
	while [ "$1" != -- ]; do
		lines+=(-c "$1")
		shift
	done
	shift
	test/throwaway-server.sh -o ".build/bench/$name" -c "shared_preload_libraries = 'idempotency'" "${lines[@]}" "$@"
}

# ensure_files FILE=PACKAGE...
ensure_files() {
	local wanted missing=()
	for wanted; do
		[ -e "${wanted%%=*}" ] || missing+=("${wanted#*=}")
	done
	[ ${#missing[@]} = 0 ] || { apt_update && install_packages "${missing[@]}"; }
}

ensure_all() {
	ensure_packages valgrind=valgrind redis-check-rdb=redis-tools
	ensure_files /usr/include/hiredis/hiredis.h=libhiredis-dev "$("$PG_CONFIG" --includedir)/libpq-fe.h=libpq-dev" \
		/usr/bin/python3=python3 "$(/usr/bin/python3 -c 'import ensurepip; print(ensurepip.__file__)' 2>/dev/null || echo /none)=python3-venv"
}

# with_huge_pages N: reserve N pages of 2 MB while this runs, if the system allows it.
# Servers with much shared memory use huge pages, and a claim among many keys reads
# an index page that its session may not have read before.
with_huge_pages() {
	local setting=/proc/sys/vm/nr_hugepages before
	[ -w "$setting" ] || return 0
	before=$(cat "$setting")
	# shellcheck disable=SC2064 # what it is now
	trap "echo $before >$setting" EXIT
	echo "$((before + $1))" >"$setting"
	echo "run.sh: $(cat "$setting") huge pages, until the end of this run" >&2
}

export BENCH_START
BENCH_START=$(date +%s)
case ${1:-} in
	all)
		ensure_all
		on_server all 'fsync = on' 'shared_buffers = 1GB' 'max_connections = 1100' 'max_wal_size = 8GB' -- bench/all.sh
		/usr/bin/python3 bench/report.py
		;;
	large)
		ensure_all
		with_huge_pages 4500
		on_server large 'shared_buffers = 8GB' 'max_wal_size = 16GB' 'wal_level = minimal' 'max_wal_senders = 0' -- bench/all.sh large
		[ ! -d .build/bench/all ] || /usr/bin/python3 bench/report.py
		;;
	kinds)
		ensure_packages valgrind=valgrind
		on_server kinds 'shared_buffers = 3GB' 'max_wal_size = 16GB' 'wal_level = minimal' 'max_wal_senders = 0' -- bench/kinds.sh
		[ ! -d .build/bench/all ] || /usr/bin/python3 bench/report.py
		;;
	churn)
		on_server churn -- bench/churn.sh
		[ ! -d .build/bench/all ] || /usr/bin/python3 bench/report.py
		;;
	instructions)
		ensure_packages valgrind=valgrind
		on_server instructions -- bench/instructions.sh
		;;
	*)
		echo "usage: bench/run.sh all|large|kinds|churn|instructions" >&2
		exit 2
		;;
esac
