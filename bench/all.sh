#!/bin/bash
#
# all.sh: run the parts of the benchmark one after another.
#
#	bench/all.sh		the parts of "make bench"
#	bench/all.sh large	the time of claims among 20 million keys, a million
#				transactions of one backend, a million keys purged
#
# Runs in the environment that test/throwaway-server.sh creates.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./record.sh
export BENCH_START=${BENCH_START:-$(date +%s)}

{
	printf 'PostgreSQL\t%s\n' "$(sql -c 'SHOW server_version')"
	printf 'Redis\t%s\n' "$(redis-cli --version | cut -d ' ' -f 2)"
	printf 'system\t%s\n' "$(. /etc/os-release && echo "$PRETTY_NAME"), Linux $(uname -r)"
	printf 'processors\t%s × %s\n' "$(nproc)" "$(sed -nE 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)"
	printf 'memory\t%s GB\n' "$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)"
	printf 'huge pages\t%s\n' "$(grep -q '^KernelPageSize: *2048 kB' "/proc/$(head -n 1 "$SERVER_DATA/postmaster.pid")/smaps" && echo yes || echo no)"
	printf 'file system\t%s\n' "$(stat -f -c %T "$PGHOST")"
	printf 'date\t%s\n' "$(date -u +%F)"
	printf 'load at the start\t%s\n' "$(cut -d ' ' -f 1 /proc/loadavg)"
	printf 'slice\t%s s\n' "$seconds"
	printf 'rounds\t%s\n' "$rounds"
} >"$RESULTS/environment.tsv"

# without_fsync: the measurements that follow do not depend on the disk.
without_fsync() {
	sql -c 'ALTER SYSTEM SET fsync = off' -c 'SELECT pg_reload_conf()' >/dev/null
}

build_client
if [ "${1:-}" = large ]; then
	without_fsync
	./size.sh 10000 "${MIDDLE_KEYS:-1000000}" "${LARGE_KEYS:-20000000}"
	./memory.sh
	progress purge
	./purge.sh >"$RESULTS/purge.txt"
	exit
fi

export PYTHON=$PGHOST/python/bin/python
./load.sh
./connect.sh
./libraries.sh
./ticks.sh
without_fsync
./size.sh 10000 1000000
progress 'once, in bulk'
MESSAGES=${MESSAGES:-100000} RUNS=3 ./once.sh >"$RESULTS/once.txt" || true
progress 'expiry'
./expiry.sh 1000000 >"$RESULTS/expiry.txt"
progress 'claims while keys are swept'
# It exits with 1 if a target is missed.
LENGTH=60 ./sweep_load.sh >"$RESULTS/sweep_load.txt" || true
./failures.sh
# The last one: it uses up the server.
TURNS=2 ./instructions.sh >/dev/null
progress measured
[ ! -t 2 ] || echo >&2
