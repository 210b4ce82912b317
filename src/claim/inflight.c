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

#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "store/deferred.h"
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
	UNFINISHED_LOCK_HIGH,
	UNFINISHED_LOCK_LOW,
	UNFINISHED_COLUMNS
};

/*
 * The top-level transaction of a row's writer.  A subtransaction that has
 * ended no longer holds a lock by which its session could be found.
 */
static TransactionId
whole_transaction(const KeyRow *row, TransactionId writer)
{
	if (row->own)
		return GetTopTransactionIdIfAny();
	return TransactionIdIsNormal(writer) ?
		SubTransGetTopmostTransaction(writer) : InvalidTransactionId;
}

static void
put_claim(ReturnSetInfo *result, const IdempotencyKey *key, const KeyRow *row,
		  TransactionId holder)
{
	Datum		values[UNFINISHED_COLUMNS];
	bool		isnull[UNFINISHED_COLUMNS] = {0};
	uint64		lock = key_lock_bits(&key->hash);

	values[UNFINISHED_SCOPE] = PointerGetDatum(key->scope);
	values[UNFINISHED_KEY] = PointerGetDatum(key->name);
	values[UNFINISHED_ATTEMPT] = Int32GetDatum(row->attempt);
	values[UNFINISHED_CLAIMED_AT] = TimestampTzGetDatum(row->claimed_at);
	values[UNFINISHED_LEASE_UNTIL] = TimestampTzGetDatum(row->lease_until);
	isnull[UNFINISHED_LEASE_UNTIL] = row->lease_until == NO_TIME;
	values[UNFINISHED_HOLDER] = TransactionIdGetDatum(holder);
	isnull[UNFINISHED_HOLDER] = !TransactionIdIsValid(holder);
	values[UNFINISHED_LOCK_HIGH] = ObjectIdGetDatum((uint32) (lock >> 32));
	values[UNFINISHED_LOCK_LOW] = ObjectIdGetDatum((uint32) lock);
	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

/* Add the deferred claims: all, or those of one key. */
static void
put_deferred_claims(ReturnSetInfo *result, const IdempotencyKey *of)
{
	IdempotencyKey key;
	KeyRow		row;
	int			position = 0;

	while (deferred_next(&position, &key, &row))
	{
		CHECK_FOR_INTERRUPTS();
		if (of == NULL || same_key(of, &key))
			put_claim(result, &key, &row, row.claim_xid);
	}
}

typedef struct Visit
{
	ReturnSetInfo *result;
	const IdempotencyKey *of;	/* NULL: all keys */
} Visit;

/*
 * The same for a store that does not show uncommitted claims of other
 * transactions.
 */
static void
put_visited_claim(const IdempotencyKey *key, const KeyRow *row, void *argument)
{
	const Visit *visit = argument;

	if (visit->of == NULL || same_key(visit->of, key))
		put_claim(visit->result, key, row,
				  row->own ? GetTopTransactionIdIfAny() : InvalidTransactionId);
}

/*
 * unfinished_claims(of_key text, of_scope text) returns setof record
 *
 * The unfinished claims of one key, or of all if of_key is NULL: scope, key,
 * attempt, claimed_at, lease_until, the transaction in progress that has written
 * the row (NULL if the claim is committed and no transaction is at work on it),
 * and the two halves of the name of the key's lock.  A claim with its result is
 * included, without lease_until, as long as that is not committed.  A claim that
 * a transaction is replacing is returned twice.  Raises IK400 for a key that
 * can't have been claimed.
 */
Datum
idempotency_unfinished_claims(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz now = GetCurrentTimestamp();
	Store		store;
	StoreScan	scan;
	IdempotencyKey of;
	Visit		visit = {.result = result};
	IdempotencyKey key;
	KeyRow		row;
	TransactionId writer;

	InitMaterializedSRF(fcinfo, 0);
	if (!PG_ARGISNULL(0))
	{
		make_key(&of, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
		check_known_key_length(&of);
		visit.of = &of;
	}
	store_open(&store);
	if (store_visit_unfinished(&store, now, put_visited_claim, &visit))
		return (Datum) 0;
	if (visit.of == NULL)
		store_scan_begin(&scan, 0, LEAVES - 1, false);
	else
		store_scan_begin_key(&scan, visit.of);
	while (store_scan_next(&scan, &key, &row, &writer))
	{
		if (row.status != KEY_IN_PROGRESS && !row.own && !scan.uncommitted)
			continue;
		writer = whole_transaction(&row, writer);
		if (row.expires_at > now || TransactionIdIsValid(writer))
			put_claim(result, &key, &row, writer);
	}
	store_scan_end(&scan);
	put_deferred_claims(result, visit.of);
	return (Datum) 0;
}
