/*-------------------------------------------------------------------------
 *
 * inflight.c
 *	  The claims that are not finished, committed or not.
 *
 * Leaves are read with a dirty snapshot, which shows the rows of transactions
 * in progress; deferred claims have no rows yet and come from shared memory
 * (deferred.c).  One key is found by the index.  For all keys every row is
 * read: with an index on the status, completions would not be heap-only
 * updates, and a register of all owners would cost every claim.
 *
 * The distributed store shows the claims that are committed, and those of the
 * current transaction: uncommitted claims of others are known only to the
 * servers that store them.
 *
 * Sessions that wait for a key hold a lock with the name of the key's lock and
 * a class of its own (keylock.c), so that pg_locks shows exactly these
 * sessions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "store/store.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(idempotency_unfinished_claims);

enum
{
	UNFINISHED_SCOPE,
	UNFINISHED_KEY,
	UNFINISHED_ATTEMPT,
	UNFINISHED_CLAIMED_AT,
	UNFINISHED_LEASE_UNTIL,
	UNFINISHED_HOLDER,
	UNFINISHED_REPLACED,
	UNFINISHED_LOCK_HIGH,
	UNFINISHED_LOCK_LOW,
	UNFINISHED_COLUMNS
};

static void
put_claim(const IdempotencyKey *key, const KeyRow *row, TransactionId holder,
		  bool replaced, void *argument)
{
	ReturnSetInfo *result = argument;
	Datum		values[UNFINISHED_COLUMNS];
	bool		isnull[UNFINISHED_COLUMNS] = {0};
	uint64		lock = key_lock_bits(&key->hash);

	values[UNFINISHED_SCOPE] = PointerGetDatum(key->scope);
	values[UNFINISHED_KEY] = PointerGetDatum(key->name);
	values[UNFINISHED_ATTEMPT] = Int32GetDatum(row->attempt);
	values[UNFINISHED_CLAIMED_AT] = TimestampTzGetDatum(row->claimed_at);
	isnull[UNFINISHED_CLAIMED_AT] = row->claimed_at == NO_TIME;
	values[UNFINISHED_LEASE_UNTIL] = TimestampTzGetDatum(row->lease_until);
	isnull[UNFINISHED_LEASE_UNTIL] = row->lease_until == NO_TIME;
	values[UNFINISHED_HOLDER] = TransactionIdGetDatum(holder);
	isnull[UNFINISHED_HOLDER] = !TransactionIdIsValid(holder);
	values[UNFINISHED_REPLACED] = BoolGetDatum(replaced);
	values[UNFINISHED_LOCK_HIGH] = ObjectIdGetDatum((uint32) (lock >> 32));
	values[UNFINISHED_LOCK_LOW] = ObjectIdGetDatum((uint32) lock);
	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

/*
 * unfinished_claims(of_key text, of_scope text) returns setof record
 *
 * The unfinished claims of one key, or of all if of_key is NULL: scope, key,
 * attempt, claimed_at, lease_until, the transaction in progress that has written
 * the row (NULL if the claim is committed and no transaction is at work on it),
 * and the two halves of the name of the key's lock.  A claim with its result is
 * included, without lease_until, as long as that is not committed, and so is a
 * key that was issued, without claimed_at.  A claim that a transaction is
 * replacing is returned twice.  Raises IK400 for a key that can't have been
 * claimed.
 */
Datum
idempotency_unfinished_claims(PG_FUNCTION_ARGS)
{
	Store		store;
	IdempotencyKey of;
	bool		one_key = !PG_ARGISNULL(0);

	InitMaterializedSRF(fcinfo, 0);
	if (one_key)
	{
		make_key(&of, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
		check_known_key_length(&of);
	}
	store_open(&store);
	store_visit_unfinished(&store, one_key ? &of : NULL, GetCurrentTimestamp(),
						   put_claim, fcinfo->resultinfo);
	store_close(&store);
	return (Datum) 0;
}
