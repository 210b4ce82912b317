#!/bin/bash
#
# server.sh: create the server of the examples, and PgBouncer in front of it.
#
# To be run by test/throwaway-server.sh, whose variables it uses.  Prints
#
#	ready HOST PORT POOLED_PORT
#
# and keeps both running until its input ends.  HOST is the directory of the
# socket, by which the superuser can connect.  The role "app" can also connect to
# 127.0.0.1, because some drivers don't support sockets: at PORT to the server, at
# POOLED_PORT to PgBouncer in transaction mode; that is "-" if there is no
# PgBouncer.  Neither asks for a password.  New databases copy the database
# "example".

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

free_port() {
	perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport'
}

# Only the role "app" may connect by TCP, because other users of the machine can.
cat >"$PGHOST/data/pg_hba.conf" <<END
local all postgres trust
local all app trust
host all app 127.0.0.1/32 trust
END
PGPORT=$(free_port)
cat >>"$PGHOST/data/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
port = $PGPORT
max_connections = 200
END
pg_ctl -D "$PGHOST/data" -l "$PGHOST/server.log" -m fast -w -s restart

psql -X -q -v ON_ERROR_STOP=1 -c 'CREATE ROLE app LOGIN' -c 'CREATE DATABASE example'
psql -X -q -v ON_ERROR_STOP=1 -d example -f schema.sql >/dev/null

pooled_port=-
if pgbouncer --version >/dev/null 2>&1; then
	pooled_port=$(free_port)
	echo '"app" ""' >"$PGHOST/pgbouncer.users"
	# JDBC sets extra_float_digits, which PgBouncer would refuse.
	cat >"$PGHOST/pgbouncer.ini" <<END
[databases]
* = host=$PGHOST port=$PGPORT
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $pooled_port
unix_socket_dir =
auth_type = trust
auth_file = $PGHOST/pgbouncer.users
pool_mode = transaction
default_pool_size = 4
server_idle_timeout = 5
ignore_startup_parameters = extra_float_digits
logfile = $PGHOST/pgbouncer.log
pidfile = $PGHOST/pgbouncer.pid
END
	pgbouncer -q -d "$PGHOST/pgbouncer.ini"
	trap 'kill "$(cat "$PGHOST/pgbouncer.pid")"' EXIT
fi

echo "ready $PGHOST $PGPORT $pooled_port"
cat >/dev/null
