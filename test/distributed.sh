#!/bin/bash
#
# distributed.sh: run the tests of the contract over the distributed store.
#
#	test/distributed.sh [TEST]...
#
# To be run by throwaway-server.sh, whose variables it uses.  The files are those
# that run over the local store; here they run in a database where distribute()
# has created an ordinary table without tenants: the contract does not depend on
# the store.  In the files the name of the table is changed, as tests make keys
# expire by hand.  contract.sh says what is in test/distributed: what is left out
# are files that are not about the contract, or about the local store alone, and
# those permutations of specs in which the stores differ, as doc/scaling.md says.

set -uo pipefail

other=distributed
. test/contract.sh

# The tester may observe a wait of a millisecond, and then continues with the next
# step: such a spec is run again.
tries=3

# With the other table.
adapt() {
	sed -E 's/\bidempotency\.keys\b/idempotency.distributed_keys/g
		s/^(ERROR:  (permission denied for|must be owner of) table) keys$/\1 distributed_keys/' "$1"
}

# Without the marks of waiting steps: an answer after a millisecond counts as
# immediate.
adapt_spec() {
	adapt "$1" | sed -E '/^step [^ ]+: <\.\.\. completed>$/d; s/ <waiting \.\.\.>$//'
}

make_database() {
	psql -Xqc "CREATE DATABASE $1" || exit
	psql -Xq -v ON_ERROR_STOP=1 "$1" >/dev/null <<-END || exit
		CREATE EXTENSION idempotency;
		CREATE TABLE business ();
		SELECT idempotency.distribute('business', tenant_from => 'none');
		ALTER DATABASE $1 SET idempotency.store = 'distributed';
	END
}

run_contract "$@"
