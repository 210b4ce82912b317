#!/bin/bash
#
# portable.sh: run the tests of the contract over portable/idempotency.sql.
#
#	test/portable.sh [TEST]...
#
# To be run by throwaway-server.sh, whose variables it uses.  The files are those
# of sql/ and specs/ that run over the extension; here they run in databases in
# which a role that is not a superuser has run the portable file.  In the files
# keys_long is renamed, as there is one table; and the lines that say in which
# function an error was raised are removed, since functions are PL/pgSQL here.
# contract.sh says what is in test/portable; its own sql/ and specs/ are about the
# portable file alone.

set -uo pipefail

other=portable
. test/contract.sh

# With the other table, without contexts and calls of what does not exist, whose
# hints differ between majors, with the message of the check of one row about an
# unfinished claim, and with the server's own message about writing in a read-only
# transaction.
adapt() {
	sed -E '/idempotency\.retain\(|octet_length\(fingerprint\)/d
		s/\bidempotency\.keys_long\b/idempotency.keys/g
		s/^DETAIL:  [0-9]+ claims? of the transaction ha(s|ve) neither/DETAIL:  It has neither/
		s/cannot execute idempotency\.(claim|execute|issue)\(\) in/cannot execute INSERT in/
		s/cannot execute idempotency\.(complete|fail|erase_scope)\(\) in/cannot execute UPDATE in/
		s/cannot execute idempotency\.[a-z]+\(\) in/cannot execute SELECT FOR UPDATE in/' "$1" |
		awk '/^CONTEXT:  / { context = 1; next }
			context && /^(PL\/pgSQL function|SQL statement|SQL function|SQL expression|	| )/ { next }
			{ context = 0; print }'
}

adapt_sql() {
	echo '\set SHOW_CONTEXT never'
	adapt "$1"
}

# A database in which a role that is not a superuser has run the file.
make_database() {
	psql -Xqc "CREATE DATABASE $1 OWNER portable_owner" || exit
	psql -Xqc "ALTER DATABASE $1 SET statement_timeout = '2min'" || exit
	PGUSER=portable_owner psql -Xq -v ON_ERROR_STOP=1 -1 -f portable/idempotency.sql "$1" || exit
	# A plan that was made just after VACUUM has found few rows reads the whole table.
	PGUSER=portable_owner psql -Xqc 'ALTER TABLE idempotency.keys SET (autovacuum_enabled = off)' "$1" || exit
}

psql -Xqc 'CREATE ROLE portable_owner LOGIN' || exit
run_contract "$@"
