/*-------------------------------------------------------------------------
 *
 * claim_result.c
 *	  The outcome of a claim as a row of type claim_result.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "claim/claim_result.h"
#include "error.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

enum
{
	RESULT_OUTCOME,
	RESULT_PROCEED,
	RESULT_STATUS_CODE,
	RESULT_RESOURCE_ID,
	RESULT_RESPONSE,
	RESULT_ATTEMPT,
	RESULT_RECOVERY_POINT,
	RESULT_STATE,
	RESULT_RETRY_AFTER,
	RESULT_CLAIMED_AT,
	RESULT_COMPLETED_AT,
	RESULT_EXPIRES_AT,
	RESULT_COLUMNS
};

static const Oid column_types[RESULT_COLUMNS] = {
	[RESULT_OUTCOME] = TEXTOID,
	[RESULT_PROCEED] = BOOLOID,
	[RESULT_STATUS_CODE] = INT4OID,
	[RESULT_RESOURCE_ID] = TEXTOID,
	[RESULT_RESPONSE] = JSONBOID,
	[RESULT_ATTEMPT] = INT4OID,
	[RESULT_RECOVERY_POINT] = TEXTOID,
	[RESULT_STATE] = JSONBOID,
	[RESULT_RETRY_AFTER] = INTERVALOID,
	[RESULT_CLAIMED_AT] = TIMESTAMPTZOID,
	[RESULT_COMPLETED_AT] = TIMESTAMPTZOID,
	[RESULT_EXPIRES_AT] = TIMESTAMPTZOID,
};

static const char *const outcome_names[] = {
	[OUTCOME_NEW] = "new",
	[OUTCOME_RECOVERED] = "recovered",
	[OUTCOME_REPLAY] = "replay",
	[OUTCOME_IN_PROGRESS] = "in_progress",
	[OUTCOME_MISMATCH] = "mismatch",
	[OUTCOME_EXPIRED] = "expired",
};

static void
put(Datum *values, bool *isnull, int column, Datum value)
{
	values[column] = value;
	isnull[column] = false;
}

static void
put_pointer(Datum *values, bool *isnull, int column, void *pointer)
{
	if (pointer != NULL)
		put(values, isnull, column, PointerGetDatum(pointer));
}

static void
put_time(Datum *values, bool *isnull, int column, TimestampTz time)
{
	if (time != NO_TIME)
		put(values, isnull, column, TimestampTzGetDatum(time));
}

static int
http_status(const Claim *claim, const Completion *completion)
{
	if (completion != NULL)
		return completion->status_code == NO_STATUS_CODE ?
			HTTP_CREATED : completion->status_code;

	switch (claim->outcome)
	{
		case OUTCOME_REPLAY:
			if (claim->row.status == KEY_ERASED)
				return HTTP_GONE;
			return claim->row.status_code == NO_STATUS_CODE ?
				HTTP_OK : claim->row.status_code;
		case OUTCOME_IN_PROGRESS:
			return HTTP_CONFLICT;
		case OUTCOME_MISMATCH:
			return HTTP_UNPROCESSABLE;
		case OUTCOME_EXPIRED:
			return HTTP_PRECONDITION;
		case OUTCOME_NEW:
		case OUTCOME_RECOVERED:
			break;
	}
	return NO_STATUS_CODE;
}

/*
 * When to ask again: when the owner's lease ends, if its claim is committed;
 * otherwise after a second, as a transaction may end at any time.
 */
static Interval *
retry_after(const Claim *claim)
{
	Interval   *interval = palloc0(sizeof(Interval));
	bool		leased = claim->row_known && !claim->row.own;

	interval->time = leased ?
		claim->row.lease_until - claim->judged_at : USECS_PER_SEC;
	return interval;
}

void
claim_result_values(const Claim *claim, const Completion *completion,
					Datum *values, bool *isnull)
{
	const KeyRow *row = &claim->row;
	bool		proceed = claim->outcome == OUTCOME_NEW ||
		claim->outcome == OUTCOME_RECOVERED;
	int			status_code = http_status(claim, completion);

	StaticAssertStmt(RESULT_COLUMNS == CLAIM_RESULT_COLUMNS,
					 "claim_result has as many columns as claim_result.h says");
	memset(isnull, true, RESULT_COLUMNS * sizeof(bool));
	put(values, isnull, RESULT_OUTCOME,
		CStringGetTextDatum(outcome_names[claim->outcome]));
	put(values, isnull, RESULT_PROCEED, BoolGetDatum(proceed));
	if (status_code != NO_STATUS_CODE)
		put(values, isnull, RESULT_STATUS_CODE, Int32GetDatum(status_code));
	if (claim->outcome == OUTCOME_REPLAY)
	{
		put_pointer(values, isnull, RESULT_RESOURCE_ID, row->resource_id);
		put_pointer(values, isnull, RESULT_RESPONSE, row->response);
	}
	if (completion != NULL)
	{
		put_pointer(values, isnull, RESULT_RESOURCE_ID, completion->resource_id);
		put_pointer(values, isnull, RESULT_RESPONSE, completion->response);
	}
	if (proceed)
		put(values, isnull, RESULT_ATTEMPT, Int32GetDatum(row->attempt));
	if (claim->outcome == OUTCOME_RECOVERED)
	{
		put_pointer(values, isnull, RESULT_RECOVERY_POINT, row->recovery_point);
		put_pointer(values, isnull, RESULT_STATE, row->state);
	}
	if (claim->outcome == OUTCOME_IN_PROGRESS)
		put_pointer(values, isnull, RESULT_RETRY_AFTER, retry_after(claim));
	if (claim->row_known)
	{
		put_time(values, isnull, RESULT_CLAIMED_AT, row->claimed_at);
		put_time(values, isnull, RESULT_COMPLETED_AT, row->completed_at);
		put_time(values, isnull, RESULT_EXPIRES_AT, row->expires_at);
	}
	if (completion != NULL)
	{
		put_time(values, isnull, RESULT_COMPLETED_AT, completion->completed_at);
		put_time(values, isnull, RESULT_EXPIRES_AT, completion->expires_at);
	}
}

Datum
claim_result_datum(const Claim *claim, const Completion *completion)
{
	Datum		values[MaxHeapAttributeNumber];
	bool		isnull[MaxHeapAttributeNumber];
	TupleDesc	desc;
	Datum		result;

	desc = lookup_rowtype_tupdesc(objects()->claim_result_type, -1);
	check_columns("claim_result", desc, column_types, RESULT_COLUMNS);
	memset(isnull, true, desc->natts * sizeof(bool));
	claim_result_values(claim, completion, values, isnull);
	result = HeapTupleGetDatum(heap_form_tuple(desc, values, isnull));
	ReleaseTupleDesc(desc);
	return result;
}
