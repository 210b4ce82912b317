#!/bin/bash
#
# failures.sh: kill the client, the server and Redis at every step of every
# candidate, let the client retry, and count how often the payment was made.
#
# Runs in the environment that test/throwaway-server.sh creates.  Nothing here is
# left to chance:
#
#	client at STEP	SIGKILL before its round trip number STEP, or after the
#			last one, before its caller has the answer
#	redis at STEP	SIGKILL for Redis at these points; the client continues
#	server before commit	SIGKILL for the backend that has claimed and is about
#			to insert the payment: a trigger holds it there
#	server after commit	SIGKILL for the backend whose commit is on disk and
#			not yet reported: it waits for a standby that does not
#			exist.  All backends of the server end with it
#
# The caller then sends the same key again until the answer says that the payment
# was made, for at most five seconds.  For Redis that is longer than the lock,
# which lasts one second here instead of the usual minute; once more with a lock
# that does not expire.  Libraries are tested in the same way if PYTHON has them.
#
# Writes $RESULTS/failures.tsv: candidate, the process that was killed, the step, the
# last status, payments made.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./record.sh
work=$(mktemp -d "$PGHOST/failures.XXXXXX")
trap stop_redis EXIT
[ -x pay ] || build_client
start_redis redis everysec

createdb failures
export PGDATABASE=failures
sql -c 'CREATE EXTENSION idempotency'
create_candidates public 'to_jsonb(payment)'
sql <<'SQL'
CREATE FUNCTION hold_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_advisory_xact_lock_shared(1);
	-- Of all commits, that of the payment alone waits for a standby.
	PERFORM set_config('synchronous_commit', 'on', true);
	RETURN NEW;
END
$$;
CREATE TRIGGER hold_payment BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION hold_payment();
ALTER SYSTEM SET synchronous_commit = local;
SELECT pg_reload_conf() \g /dev/null
SQL

# client KEY [OPTION]...: one try; prints the status, or nothing if it was killed.
client() {
	local key=$1
	shift
	"${pay[@]}" -r "$work/redis" -k "$key" "$@" "$candidate" 2>/dev/null
}

# until_true SECONDS COMMAND...
until_true() {
	local end=$(($(date +%s%N) + $1 * 1000000000))
	shift
	until "$@"; do
		[ "$(date +%s%N)" -lt "$end" ] || return 1
		sleep 0.02
	done
}
asked() { [ "$(sql -c "SELECT $1" 2>/dev/null)" = "${2-t}" ]; }
paid() {
	status=$(client "$key" || true)
	[ "$status" = 201 ] || [ "$status" = 200 ]
}

# judge WHO WHERE: let the caller retry, and record how often it was paid.
judge() {
	# Wait for the statements of a dead client to end.
	until_true 10 asked "count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'"
	until_true 5 paid || true
	printf '%s\t%s\t%s\t%s\t%s\n' "$label" "$1" "$2" "$status" \
		"$(sql -c "SELECT count(*) FROM payments WHERE reference = '$key'")" >>"$RESULTS/failures.tsv"
}

number=0
next_key() { key=$((++number))-$label; }

kill_client() {
	local step
	for ((step = 1; step < 20; step++)); do
		next_key
		# shellcheck disable=SC2016 # $PPID is that of the command
		# It was not killed: the candidate has fewer steps.
		[ -z "$(client "$key" -s "$step" -x 'kill -9 $PPID' || true)" ] || break
		judge client "step $step"
	done
}

kill_redis() {
	local step pid
	for ((step = 1; step < 20; step++)); do
		next_key
		pid=${redis_pids[redis]}
		client "$key" -s "$step" -x "kill -9 $pid; while kill -0 $pid 2>/dev/null && ! grep -q '^State:.Z' /proc/$pid/status; do :; done" >/dev/null || true
		! kill -0 "$pid" 2>/dev/null || break
		start_redis redis everysec
		judge redis "step $step"
	done
}

# kill_backend EVENT: kill the client's backend, which waits for this event.
kill_backend() {
	local waiting="FROM pg_stat_activity WHERE wait_event = '$1' AND application_name <> 'psql'"
	until_true 20 asked "count(*) = 1 $waiting"
	kill -9 "$(sql -c "SELECT pid $waiting")"
	until_true 60 asked true
}

# standby NAME: the standby that the payment's commit waits for.
standby() {
	sql -c "ALTER SYSTEM SET synchronous_standby_names = '$1'" -c 'SELECT pg_reload_conf()' >/dev/null
	until_true 10 asked "setting FROM pg_settings WHERE name = 'synchronous_standby_names'" "$1"
}

kill_server() {
	local holder
	next_key
	# Another session keeps payments from being made.
	psql -XAtq -c 'SELECT pg_advisory_lock(1)' -c 'SELECT pg_sleep(3600)' >/dev/null 2>&1 &
	holder=$!
	until_true 10 asked "count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND granted"
	client "$key" >/dev/null & client_pid=$!
	kill_backend advisory
	wait "$holder" "$client_pid" || true
	judge server "before commit"

	next_key
	standby nobody
	client "$key" >/dev/null & client_pid=$!
	kill_backend SyncRep
	standby ''
	wait "$client_pid" || true
	judge server "after commit"
}

# endure LABEL CANDIDATE COMMAND...: all kills of a candidate.
endure() {
	label=$1
	candidate=$2
	shift 2
	pay=("$@")
	progress "killing: $label"
	kill_client
	kill_server
	case $candidate in
		redis | powertools) kill_redis ;;
	esac
}

for way in bare extension extension-statements execute handwritten handwritten-statements; do
	endure "$way" "$way" ./pay
done
endure redis redis ./pay -l 1
endure redis-kept redis ./pay -l 86400
if [ -x "${PYTHON:-}" ]; then
	for way in powertools dbos; do
		endure "$way" "$way" "$PYTHON" libraries.py
	done
fi
