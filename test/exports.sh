#!/bin/bash
#
# exports.sh: check that a built library exports what the server looks up by name,
# and nothing else.
#
#	test/exports.sh LIBRARY
#
# That is: the functions that the extension's SQL script names, with their
# pg_finfo functions, the entry points of the background workers, and what every
# library has.  Prints each difference, and fails if there is one.

set -euo pipefail
library=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

wanted() {
	printf '%s\n' _PG_init Pg_magic_func
	sed -nE "s/^AS 'MODULE_PATHNAME', '([a-z_]+)'.*/\1\npg_finfo_\1/p" src/idempotency--1.0.sql
	sed -nE 's/^PGDLLEXPORT void ([a-z_]+)\(Datum arg\);/\1/p' src/sweep/*.c
}

difference=$(diff <(wanted | sort -u) <(nm -D --defined-only "$library" | awk '{ print $3 }' | sort -u)) || {
	sed -nE 's/^</not exported:/p; s/^>/exported without need:/p' <<<"$difference"
	exit 1
}
