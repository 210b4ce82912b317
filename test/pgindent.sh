#!/bin/bash
#
# pgindent.sh: lay out the C files with PostgreSQL's own tool.
#
#	test/pgindent.sh [--check | --diff]
#
# Writes the files in place; --check and --diff write nothing, and fail if
# something would change.  pgindent and its list of PostgreSQL's types come
# with the server's headers from 17 on: those of PG_CONFIG, else the newest in
# /usr/lib/postgresql, else in the root that PGINDENT_ROOT names, a chroot.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

root=${PGINDENT_ROOT:-}
if [ -n "${PG_CONFIG:-}" ]; then
	bin=$("$PG_CONFIG" --bindir)
else
	bin=$(printf '%s\n' "$root"/usr/lib/postgresql/*/bin/pgindent | sort -V | tail -n 1)
	bin=${bin%/pgindent}
fi
if [ ! -x "$bin/pgindent" ]; then
	echo "pgindent.sh: no pgindent; it comes with postgresql-server-dev-17 and later" >&2
	exit 2
fi
types=$(printf '%s\n' "$root"/usr/share/postgresql/"$(basename "$(dirname "$bin")")"/typedefs.list)

# The programs of a chroot need its libraries.
if [ -n "$root" ]; then
	scratch=$(mktemp -d "$root/tmp/pgindent.XXXXXX")
	trap 'rm -rf "$scratch"' EXIT
	tar -cf - $(git ls-files "src/*.[ch]") test/typedefs.list | tar -C "$scratch" -xf -
	status=0
	chroot "$root" sh -c "cd '${scratch#"$root"}' && PATH='${bin#"$root"}':\$PATH pgindent $* --typedefs='${types#"$root"}' --list-of-typedefs=\"\$(cat test/typedefs.list)\" \$(find src -name '*.[ch]')" || status=$?
	[ $# -gt 0 ] || cp -R "$scratch"/src .
	exit "$status"
fi
PATH=$bin:$PATH pgindent "$@" --typedefs="$types" --list-of-typedefs="$(cat test/typedefs.list)" $(git ls-files "src/*.[ch]")
