# shellcheck shell=bash disable=SC2034,SC2154 # set here, used there, and back
#
# record.sh: functions for the parts of the benchmark.
#
# To be sourced by a script, which sets part, its name, if it records, and work, a
# directory of its own, if it starts Redis.  BENCH_SECONDS is the length of a time
# slice, BENCH_ROUNDS the number of slices of each candidate.

seconds=${BENCH_SECONDS:-0.3}
rounds=${BENCH_ROUNDS:-7}

# progress TEXT...: one line, rewritten in place on a terminal.
progress() {
	local now
	printf -v now '%4d s' $(($(date +%s) - ${BENCH_START:-$(date +%s)}))
	if [ -t 2 ]; then
		printf '\r\033[K%s  %s' "$now" "$*" >&2
	else
		printf '%s  %s\n' "$now" "$*" >&2
	fi
}

sql() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }

# record LOAD COMMAND...: append the output of a command, each line with the load's name.
record() {
	local load=$1
	shift
	progress "$load"
	"$@" | sed "s|^|$load	|" >>"$RESULTS/$part.tsv"
}

build_client() {
	gcc -std=gnu11 -O2 -Wall -Wextra -Werror -I"$("$PG_CONFIG" --includedir)" pay.c -o pay \
		-L"$("$PG_CONFIG" --libdir)" -Wl,-rpath,"$("$PG_CONFIG" --libdir)" -lpq -lhiredis -lpthread
}

# start_redis NAME APPENDFSYNC: at the socket $work/NAME.  Debian's redis-tools has
# the server under another name, and the package redis-server would start a service;
# the program acts according to the name that it is called with.
start_redis() {
	mkdir -p "$work/$1.data"
	(exec -a redis-server redis-check-rdb --port 0 --unixsocket "$work/$1" --dir "$work/$1.data" --save '' \
		--appendonly yes --appendfsync "$2" --loglevel warning) >"$work/$1.log" 2>&1 &
	redis_pids[$1]=$!
	disown
	for ((try = 0; try < 100; try++)); do
		[ "$(redis-cli -s "$work/$1" ping 2>/dev/null)" != PONG ] || return 0
		sleep 0.05
	done
	cat "$work/$1.log" >&2
	return 1
}
declare -A redis_pids=()
stop_redis() {
	local pid
	for pid in "${redis_pids[@]}"; do
		kill "$pid" 2>/dev/null || true
	done
}

# install_portable: install the portable edition in the schema "portable", since the
# extension uses "idempotency".
install_portable() {
	sed 's/\bidempotency\b/portable/g' ../portable/idempotency.sql | sql -1 -f - >/dev/null
}

# create_candidates SCHEMA ANSWER
create_candidates() {
	[ "$1" = public ] || sql -c "CREATE SCHEMA $1"
	PGOPTIONS="-c search_path=$1" sql -v answer="$2" -f candidates.sql
}
