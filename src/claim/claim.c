/*-------------------------------------------------------------------------
 *
 * claim.c
 *	  claim(), and once(), which is a claim that is its own result: one row
 *	  version, written as completed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "claim/claim_result.h"
#include "claim/durable_replay.h"
#include "error.h"
#include "interval.h"
#include "miscadmin.h"
#include "nodes/memnodes.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(idempotency_claim);
PG_FUNCTION_INFO_V1(idempotency_once);

/*
 * claim(key text, scope text, request jsonb, ttl interval, lease interval,
 *		 wait interval, first_sent timestamptz) returns claim_result
 *
 * Claims the key for the calling transaction.  The scope's policy and the
 * settings supply intervals that are NULL.  Raises IK400 for a bad key or
 * interval, READ_ONLY_SQL_TRANSACTION if the transaction is read-only, and
 * T_R_DEADLOCK_DETECTED as any wait may.
 */
Datum
idempotency_claim(PG_FUNCTION_ARGS)
{
	Claim		claim;
	Store		store;
	Interval   *wait;

	PreventCommandIfReadOnly("idempotency.claim()");
	claim_init(&claim, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
	claim_request(&claim, PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2));
	claim.ttl = interval_from_arg(fcinfo, 3, "ttl");
	claim_lease(&claim, interval_from_arg(fcinfo, 4, "lease"));
	wait = wait_from_arg(fcinfo, 5);
	if (wait != NULL)
		wait_at_most(&claim.limit, wait);
	if (!PG_ARGISNULL(6))
		claim.first_sent = Max(PG_GETARG_TIMESTAMPTZ(6), MIN_TIMESTAMP);

	store_open(&store);
	claim_key(&claim, &store);
	store_close(&store);
	if (claim.outcome == OUTCOME_REPLAY && !replay_is_durable(&claim.row))
		wait_for_standbys();
	PG_RETURN_DATUM(claim_result_datum(&claim, NULL));
}

/*
 * Whether the call is evaluated for a row that a concurrent transaction has
 * changed: PostgreSQL then starts the query a second time (EvalPlanQual), in
 * an executor whose memory context is a child of the first one's.  No other
 * executor has such a parent.
 */
static bool
is_evaluated_again(FunctionCallInfo fcinfo)
{
	MemoryContext executor = fcinfo->flinfo->fn_mcxt;

	return strcmp(executor->name, "ExecutorState") == 0 &&
		executor->parent != NULL && strcmp(executor->parent->name, "ExecutorState") == 0;
}

/*
 * once(key text, scope text, ttl interval) returns boolean
 *
 * True for the first caller, false for every later one.  Waits for a
 * concurrent first caller according to the policy and settings.  Raises IK409
 * if that caller does not end in time or the key is under a lease, IK422 if
 * the key was claimed with a request, IK400 for a bad key or ttl, and IK500 if
 * the result was true for an earlier version of the same row: false for this
 * version would undo the effect.
 */
Datum
idempotency_once(PG_FUNCTION_ARGS)
{
	Claim		claim;
	Store		store;

	PreventCommandIfReadOnly("idempotency.once()");
	claim_init(&claim, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
	claim.once = true;
	claim.ttl = interval_from_arg(fcinfo, 2, "ttl");

	store_open(&store);
	claim_key(&claim, &store);
	store_close(&store);
	if (claim.outcome == OUTCOME_REPLAY && !replay_is_durable(&claim.row))
		wait_for_standbys();

	if (claim.outcome == OUTCOME_IN_PROGRESS)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_CONFLICT)),
				 errmsg("idempotency key \"%s\" is in progress",
						key_in_message(claim.key.name)),
				 !claim.row_known ?
				 errdetail("It is not known yet whether the other transaction commits.") :
				 claim.row.own ?
				 errdetail("The current transaction has claimed it and not completed it.") :
				 errdetail("It is claimed until its lease expires."),
				 errhint("Try again later, or raise idempotency.default_wait.")));
	if (claim.outcome == OUTCOME_MISMATCH)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_UNPROCESSABLE)),
				 errmsg("idempotency key \"%s\" was used with a request",
						key_in_message(claim.key.name)),
				 errdetail("The key was claimed by claim() or execute() with a request, and once() has none."),
				 errhint("Use a scope of its own for each operation.")));
	if (claim.outcome == OUTCOME_REPLAY && claim.row.own && is_evaluated_again(fcinfo))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_INTERNAL)),
				 errmsg("once() was evaluated twice for one row"),
				 errdetail("A concurrent transaction has changed the row, so that the query is evaluated again; the key has been seen by the first evaluation."),
				 errhint("Retry the transaction, and call once() where it is evaluated once: in the WHERE of a MATERIALIZED CTE.")));
	PG_RETURN_BOOL(claim.outcome != OUTCOME_REPLAY);
}
