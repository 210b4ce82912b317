#!/bin/bash
#
# pgbouncer.sh: run the regression tests through PgBouncer in transaction mode.
#
# To be run by throwaway-server.sh, whose variables it uses.  Twice:
#
#	rotating	three server connections, each transaction on the next one.
#			Files that themselves keep state in the session, outside a
#			transaction (SET, LOAD, PREPARE, temporary tables, \c ..),
#			can't pass there; their names are printed, with the first
#			such line.
#	one		these files, with one server connection, a new one for each
#			file.  Files that connect to databases of their own and drop
#			them are not run, since a pool keeps them open.
#
# The last line says how many files passed and failed.

set -euo pipefail
read -ra make_extension <<<"$MAKE_EXTENSION"
directory=$(mktemp -d "$PGHOST/pgbouncer.XXXXXX")
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true' EXIT
passed=0
failed=0

# start_pgbouncer CONNECTIONS
start_pgbouncer() {
	if [ -n "$pid" ]; then
		kill "$pid"
		wait "$pid" || true
	fi
	cat >"$directory/ini" <<END
[databases]
* = host=$PGHOST port=$PGPORT
[pgbouncer]
pool_mode = transaction
listen_addr =
listen_port = 6432
unix_socket_dir = $directory
auth_type = trust
auth_file = $directory/users
admin_users = postgres
default_pool_size = $1
min_pool_size = $1
server_round_robin = 1
server_check_delay = 0
ignore_startup_parameters = extra_float_digits, options
logfile = $directory/log
END
	echo '"postgres" ""' >"$directory/users"
	"$(command -v pgbouncer || echo /usr/sbin/pgbouncer)" -q "$directory/ini" &
	pid=$!
	for _ in $(seq 100); do
		[ ! -S "$directory/.s.PGSQL.6432" ] || return 0
		sleep 0.1
	done
	cat "$directory/log" >&2
	return 1
}

# run_through CONNECTIONS DATABASE FILE...
run_through() {
	local connections=$1 database=$2 output=$RESULTS/$2.out all bad
	shift 2
	start_pgbouncer "$connections"
	PGHOST=$directory PGPORT=6432 "${make_extension[@]}" installcheck ISOLATION= TAP_TESTS= REGRESS="$*" \
		REGRESS_OPTS="--load-extension=idempotency --dbname=$database --launcher=$directory/launcher" </dev/null 2>&1 | tee "$output" || true
	all=$#
	bad=$((all - $(grep -cE '^(ok |test .* ok )' "$output" || true)))
	passed=$((passed + all - bad))
	failed=$((failed + bad))
	[ ! -s regression.diffs ] || { cat regression.diffs; cp regression.diffs "$RESULTS/$database.diffs"; rm regression.diffs; }
}

# Each file finds new server connections.
cat >"$directory/launcher" <<END
#!/bin/bash
for command in KILL RESUME; do
	psql -Xqw -h $directory -p 6432 -U postgres pgbouncer -c "\$command through_three" -c "\$command through_one"
done >/dev/null 2>&1
exec "\$@"
END
chmod +x "$directory/launcher"

# pg_regress sets this by a startup option, which PgBouncer does not pass on.
psql -Xqc "ALTER ROLE postgres SET intervalstyle = 'postgres_verbose'"

# The first line of a file that keeps state in its session.
session_line() {
	awk '/^BEGIN( .*)?;/ { inside = 1 } /^(COMMIT|ROLLBACK)/ { inside = 0 }
		/^SET LOCAL/ { next }
		!inside && /^(SET|RESET|PREPARE|DISCARD|\\c|LISTEN|LOAD|ALTER SYSTEM) |^(DISCARD|\\c)|TEMPORARY|WITH HOLD|pg_temp\.|set_config\(.*false\)|pg_advisory_lock|currval|lastval/ { print FNR ": " $0; exit }' "$1"
}

rotating=()
staying=()
for file in sql/*.sql; do
	name=$(basename "$file" .sql)
	line=$(session_line "$file")
	if grep -q '^DROP DATABASE' "$file"; then
		echo "left out: $name, which drops a database"
	elif [ -z "$line" ]; then
		rotating+=("$name")
	else
		echo "not rotating: $name, line $line"
		staying+=("$name")
	fi
done

pgbouncer --version | head -n 1 || true
run_through 3 through_three "${rotating[@]}"
run_through 1 through_one "${staying[@]}"

echo "${#rotating[@]} files by rotating connections, ${#staying[@]} by one connection"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
