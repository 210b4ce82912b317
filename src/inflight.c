/*-------------------------------------------------------------------------
 *
 * inflight.c
 *	  Which keys are claimed and not finished, committed or not.
 *
 * All leaves are read with a dirty snapshot, which shows the rows of
 * transactions in progress.  That is a sequential scan: an index would have to
 * cover the status, and completing a key would no longer be a heap-only
 * update; a register of owners would cost every claim.  Operators pay, for
 * whom this is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "store.h"
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
 * unfinished_claims() returns setof record
 *
 * Scope, key, attempt, claimed_at, lease_until, and the (sub)transaction in
 * progress that has written the row, NULL where its claim is committed and
 * nobody is at work on it.  A claim that a transaction is replacing is there
 * twice.
 */
Datum
idempotency_unfinished_claims(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz now = GetCurrentTimestamp();
	StoreScan	scan;
	IdempotencyKey key;
	KeyRow		row;
	TransactionId writer;

	InitMaterializedSRF(fcinfo, 0);
	store_scan_begin(&scan, 0, LEAVES - 1);
	while (store_scan_next(&scan, &key, &row, &writer))
	{
		Datum		values[UNFINISHED_COLUMNS];
		bool		isnull[UNFINISHED_COLUMNS] = {0};

		if (row.status != KEY_IN_PROGRESS)
			continue;
		if (row.own)
			writer = GetTopTransactionIdIfAny();
		if (row.expires_at <= now && !TransactionIdIsValid(writer))
			continue;
		values[UNFINISHED_SCOPE] = PointerGetDatum(key.scope);
		values[UNFINISHED_KEY] = PointerGetDatum(key.name);
		values[UNFINISHED_ATTEMPT] = Int32GetDatum(row.attempt);
		values[UNFINISHED_CLAIMED_AT] = TimestampTzGetDatum(row.claimed_at);
		values[UNFINISHED_LEASE_UNTIL] = TimestampTzGetDatum(row.lease_until);
		values[UNFINISHED_HOLDER] = TransactionIdGetDatum(writer);
		isnull[UNFINISHED_HOLDER] = !TransactionIdIsValid(writer);
		tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	}
	store_scan_end(&scan);
	return (Datum) 0;
}
