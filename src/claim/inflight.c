/*-------------------------------------------------------------------------
 *
 * inflight.c
 *	  Which keys are claimed and not finished, committed or not.
 *
 * All leaves are read with a dirty snapshot, which shows the rows of
 * transactions in progress; the claims of commands that run have no rows yet and
 * come from shared memory (deferred.c).  That is a sequential scan: an index would have to
 * cover the status, and completing a key would no longer be a heap-only
 * update; a register of owners would cost every claim.  Operators pay, for
 * whom this is.
 *
 * The distributed store shows the claims that are committed, and those of the
 * current transaction: what others have not committed is known to the servers
 * that hold it.
 *
 * A view checks its tables as its owner, but its functions as its reader: who
 * reads the view needs EXECUTE on the function, too.
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
	UNFINISHED_COLUMNS
};

/*
 * The transaction to which the writer of a row belongs.  A subtransaction that
 * has ended holds no lock any more by which its session could be found.
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

	values[UNFINISHED_SCOPE] = PointerGetDatum(key->scope);
	values[UNFINISHED_KEY] = PointerGetDatum(key->name);
	values[UNFINISHED_ATTEMPT] = Int32GetDatum(row->attempt);
	values[UNFINISHED_CLAIMED_AT] = TimestampTzGetDatum(row->claimed_at);
	values[UNFINISHED_LEASE_UNTIL] = TimestampTzGetDatum(row->lease_until);
	isnull[UNFINISHED_LEASE_UNTIL] = row->lease_until == NO_TIME;
	values[UNFINISHED_HOLDER] = TransactionIdGetDatum(holder);
	isnull[UNFINISHED_HOLDER] = !TransactionIdIsValid(holder);
	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

/* Add the claims that their owners have deferred. */
static void
put_deferred_claims(ReturnSetInfo *result)
{
	IdempotencyKey key;
	KeyRow		row;
	int			position = 0;

	while (deferred_next(&position, &key, &row))
	{
		CHECK_FOR_INTERRUPTS();
		put_claim(result, &key, &row, row.claim_xid);
	}
}

/* The same from a store that shows nothing that others have not committed. */
static void
put_visited_claim(const IdempotencyKey *key, const KeyRow *row, void *result)
{
	put_claim(result, key, row, row->own ? GetTopTransactionIdIfAny() : InvalidTransactionId);
}

/*
 * unfinished_claims() returns setof record
 *
 * Scope, key, attempt, claimed_at, lease_until, and the transaction in
 * progress that has written the row, NULL where its claim is committed and
 * nobody is at work on it.  A claim with its result is among them as long as
 * that is not committed, without lease_until.  A claim that a transaction is
 * replacing is there twice.
 */
Datum
idempotency_unfinished_claims(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz now = GetCurrentTimestamp();
	Store		store;
	StoreScan	scan;
	IdempotencyKey key;
	KeyRow		row;
	TransactionId writer;

	InitMaterializedSRF(fcinfo, 0);
	store_open(&store);
	if (store_visit_unfinished(&store, now, put_visited_claim, result))
		return (Datum) 0;
	store_scan_begin(&scan, 0, LEAVES - 1, false);
	while (store_scan_next(&scan, &key, &row, &writer))
	{
		if (row.status != KEY_IN_PROGRESS && !row.own && !scan.uncommitted)
			continue;
		writer = whole_transaction(&row, writer);
		if (row.expires_at > now || TransactionIdIsValid(writer))
			put_claim(result, &key, &row, writer);
	}
	store_scan_end(&scan);
	put_deferred_claims(result);
	return (Datum) 0;
}
