#!/bin/bash
#
# throwaway-server.sh: run a command against a server of its own that has the
# extension.
#
#	test/throwaway-server.sh [OPTION]... COMMAND [ARGUMENT]...
#
#	-c LINE        one more line of the server's postgresql.conf
#	-e EXTENSION=SUFFIX
#	               have another extension installed, if that is possible: see
#	               want_extensions in packages.sh
#	-i COMMAND=PACKAGE
#	               one more command that is needed, as ensure_packages has it
#	-o DIRECTORY   where to put what the command leaves in $RESULTS, and the
#	               server's log if the command fails; within the checkout
#	-p PROGRAM     what to start in place of postgres, with its arguments;
#	               within the checkout; it finds postgres as $POSTGRES
#
# COPT, if set, gives the compiler more flags.
#
# The checkout is copied to a scratch directory, the extension is built there
# with warnings as errors and installed below the scratch directory, and a new
# server of the scratch directory finds it there: nothing is written to the
# checkout (but -o) or to the system, and what the checkout's path looks like
# or who may read it does not matter.  COMMAND runs in the copy, with
#
#	PGHOST, PGPORT, PGUSER, PGDATABASE	the server: a socket in the scratch
#					directory, superuser postgres, no password
#	PG_CONFIG, PATH	of that server's version
#	TEMP_CONFIG	the configuration with which any other server finds the
#			extension; PostgreSQL::Test::Cluster reads it
#	MAKE_EXTENSION	the make command, to be split at spaces, with which the
#			extension was built: "$MAKE_EXTENSION installcheck"
#	RESULTS		a directory for what is to be kept
#	SERVER_DATA, SERVER_LOG	where the server's data are, and its log
#
# and its exit status is the script's.  A server does not run as root: called
# by root, all of this runs as the user postgres (or nobody).  Whatever server
# of the scratch directory still runs at the end is stopped, and the directory
# is removed, also after Ctrl-C.
#
# Needs what packages.sh ensures, and calls it.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(dirname "$here")
# shellcheck source-path=SCRIPTDIR source=packages.sh
. "$here/packages.sh"

lines=()
extensions=()
needed=()
keep=
program=
while getopts c:e:i:o:p: option; do
	case $option in
		c) lines+=("$OPTARG") ;;
		e) extensions+=("$OPTARG") ;;
		i) needed+=("$OPTARG") ;;
		o) keep=$OPTARG ;;
		p) program=$OPTARG ;;
		*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { echo "throwaway-server.sh: no command given" >&2; exit 2; }

# Debian's place for daemons is not in everybody's path.
PATH=$PATH:/usr/sbin
ensure_packages "${needed[@]}"
want_extensions "${extensions[@]}"

# Nothing of the caller's own connections or make run reaches in, but how TAP
# tests are run and the variables that were given to make on its command line.
for name in $(compgen -v PG); do
	case $name in PG_CONFIG | PG_TEST_*) ;; *) unset "$name" ;; esac
done
case ${MAKEFLAGS:-} in
	*'-- '*) export MAKEFLAGS="-- ${MAKEFLAGS#*-- }" ;;
	*) unset MAKEFLAGS ;;
esac
unset MAKELEVEL MFLAGS MAKEOVERRIDES LANGUAGE
export LC_ALL=C.UTF-8

# A socket's path has room for about 100 bytes.
scratch=$(mktemp -d "${TMPDIR:-/tmp}/idempotency.XXXXXX")

as_server_user=()
if [ "$(id -u)" = 0 ]; then
	server_user=$(id -un postgres 2>/dev/null || echo nobody)
	as_server_user=(setpriv "--reuid=$server_user" "--regid=$(id -g "$server_user")" --init-groups --)
	chown "$server_user" "$scratch"
fi
run() { HOME=$scratch "${as_server_user[@]}" "$@"; }

clean_up() {
	local status=$? pidfile
	trap '' INT TERM
	cd /
	while IFS= read -r pidfile; do
		run pg_ctl -D "$(dirname "$pidfile")" -m immediate -w stop >/dev/null 2>&1 || true
	done < <(find "$scratch" -name postmaster.pid)
	if [ -n "$keep" ]; then
		[ "$status" = 0 ] || cp "$scratch/server.log" "$scratch/results/" 2>/dev/null || true
		if ! { mkdir -p "$keep" && cp -R "$scratch/results/." "$keep/"; } 2>/dev/null; then
			echo "throwaway-server.sh: cannot write to $keep" >&2
		fi
	fi
	rm -rf "$scratch"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

case $keep in
	'' | /*) ;;
	*) keep=$checkout/$keep ;;
esac
[ -z "$keep" ] || rm -rf "$keep"

# The copy: without what belongs to the checkout alone.
run mkdir "$scratch/copy" "$scratch/results"
without=(.git results output_iso tmp_check log)
tar -C "$checkout" "${without[@]/#/--exclude=./}" --exclude=.build --exclude='*.o' --exclude='*.so' --exclude='*.bc' -cf - . |
	run tar -C "$scratch/copy" --no-same-owner -xf -
cd "$scratch/copy"

"$PG_CONFIG" --version
major=$(major_of "$PG_CONFIG")
bin=$("$PG_CONFIG" --bindir)
destination=$scratch/installed
configuration="dynamic_library_path = '$destination$("$PG_CONFIG" --pkglibdir):\$libdir'"
if [ "$major" -ge 18 ]; then
	configuration+=$'\n'"extension_control_path = '$destination$("$PG_CONFIG" --sharedir):\$system'"
elif grep -q extension_destdir "$bin/postgres"; then
	# Debian's own setting, until 18 brought one to everybody.
	configuration+=$'\n'"extension_destdir = '$destination'"
else
	# No setting leads elsewhere; but an installation works from any place.
	run cp -R "$(dirname "$bin")" "$scratch/postgresql"
	PG_CONFIG=$scratch/postgresql/bin/pg_config
	bin=$scratch/postgresql/bin
	PATH=$bin:$PATH
	destination=
	configuration=
fi
for line in "${lines[@]}"; do
	configuration+=$'\n'$line
done

# Bitcode only serves inlining into JIT-compiled queries, and needs clang.
export COPT="-Werror ${COPT:-}"
export MAKE_EXTENSION="make -s with_llvm=no PG_CONFIG=$PG_CONFIG"
read -ra make_extension <<<"$MAKE_EXTENSION"
run "${make_extension[@]}"
run "${make_extension[@]}" install DESTDIR="$destination" >/dev/null

export TEMP_CONFIG=$scratch/extension.conf
run tee "$TEMP_CONFIG" <<<"$configuration" >/dev/null
run initdb -D "$scratch/data" -A trust -N -U postgres --locale=C.UTF-8 -E UTF8 >/dev/null
run tee -a "$scratch/data/postgresql.conf" >/dev/null <<END
listen_addresses = ''
unix_socket_directories = '$scratch'
fsync = off
include '$TEMP_CONFIG'
END
export POSTGRES=$bin/postgres
if ! run pg_ctl -D "$scratch/data" -l "$scratch/server.log" ${program:+-p "$scratch/copy/$program"} -w -s start </dev/null; then
	tail -n 30 "$scratch/server.log" >&2
	exit 1
fi

export PGHOST=$scratch PGPORT=5432 PGUSER=postgres PGDATABASE=postgres RESULTS=$scratch/results
export SERVER_DATA=$scratch/data SERVER_LOG=$scratch/server.log
run "$@"
