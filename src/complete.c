/*-------------------------------------------------------------------------
 *
 * complete.c
 *	  Ending, prolonging and noting the progress of a claim.
 *
 * complete(), fail(), release(), heartbeat() and checkpoint() are one thing:
 * find the claim, see that it is the caller's, change the row.  owned_claim()
 * decides whose it is.
 *
 * All of it happens under the key's lock, after waiting for whoever else has
 * written the row, so that a claim is judged by its latest version:
 *
 *		- A's lease has run out and B has taken over: A finds B's attempt and
 *		  is refused.  While B has not committed, A waits for it: B may roll
 *		  back, and then A still owns the key.
 *		- A and another caller with A's attempt complete at once: one writes,
 *		  the other waits for its end, and finds the claim completed: with the
 *		  same result, or an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "complete.h"
#include "error.h"
#include "miscadmin.h"
#include "policy.h"
#include "terms.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

PG_FUNCTION_INFO_V1(idempotency_complete);
PG_FUNCTION_INFO_V1(idempotency_fail);
PG_FUNCTION_INFO_V1(idempotency_release);
PG_FUNCTION_INFO_V1(idempotency_heartbeat);
PG_FUNCTION_INFO_V1(idempotency_checkpoint);

/* A claim under the key's lock, in an open store. */
typedef struct HeldClaim
{
	IdempotencyKey key;
	Policy		policy;
	Store		store;
	TimestampTz now;
	bool		found;
	KeyRow		row;
} HeldClaim;

/*
 * Find the claim, waiting for the end of any other transaction at work on it.
 * Returns false, holding nothing, where the limit ran out first.
 */
static bool
hold_claim_within(HeldClaim *held, const WaitLimit *limit)
{
	policy_of_scope(&held->policy, held->key.scope);
	for (;;)
	{
		Probe		probe;

		CHECK_FOR_INTERRUPTS();
		if (!keylock_acquire(&held->key, limit))
			return false;
		held->now = GetCurrentTimestamp();
		store_open(&held->store);
		store_probe(&held->store, &held->key, held->now,
					time_after(held->now, &held->policy.ttl), &probe);
		if (!TransactionIdIsValid(probe.writer))
		{
			held->found = probe.found;
			held->row = probe.row;
			return true;
		}
		store_close(&held->store);
		keylock_release(&held->key);
		if (!wait_for_transaction(probe.writer, limit))
			return false;
	}
}

static void
hold_claim(HeldClaim *held)
{
	WaitLimit	unlimited;

	wait_unlimited(&unlimited);
	(void) hold_claim_within(held, &unlimited);
}

static void
let_go(HeldClaim *held)
{
	store_close(&held->store);
	keylock_release(&held->key);
}

/* Write the row that hold_claim() found, and let go. */
static void
write_claim(HeldClaim *held)
{
	if (!store_write(&held->store, &held->key, &held->row))
		elog(ERROR, "idempotency key is stored twice");
	let_go(held);
}

static void
no_such_claim(const HeldClaim *held, const char *detail)
{
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_NOT_FOUND)),
			 errmsg("no claim of idempotency key \"%s\" is in progress",
					text_to_cstring(held->key.name)),
			 errdetail_internal("%s", detail),
			 errhint("Claim the key first, with the same key and scope, and end the claim once.")));
}

/* Whether the present attempt began in the current transaction. */
static bool
claimed_in_this_transaction(const KeyRow *row)
{
	return row->own &&
		TransactionIdEquals(row->claim_xid, GetTopTransactionIdIfAny());
}

/*
 * See that the held claim is the caller's: by the attempt, or, where that is
 * left out, by having been made in the current transaction.  A claim whose
 * lease has run out is still its owner's until somebody takes it over.  One
 * made by the current transaction can't have expired: nobody else has seen it.
 */
static void
owned_claim(const HeldClaim *held, int32 attempt)
{
	const KeyRow *row = &held->row;
	bool		own = held->found && claimed_in_this_transaction(row);

	if (!held->found || (row->expires_at <= held->now && !own))
		no_such_claim(held, "Nothing is stored under this key and scope.");
	if (row->status == KEY_ISSUED)
		no_such_claim(held, "The key was issued and has not been claimed.");
	if (attempt == NO_ATTEMPT && !own)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_ATTEMPT_REQUIRED)),
				 errmsg("attempt is required for idempotency key \"%s\"",
						text_to_cstring(held->key.name)),
				 errdetail("The claim was made in an earlier transaction."),
				 errhint("Pass the attempt that claim() returned.")));
	if (attempt != NO_ATTEMPT && attempt != row->attempt)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_LOCKED)),
				 errmsg("idempotency key \"%s\" was taken over",
						text_to_cstring(held->key.name)),
				 errdetail("Attempt %d no longer owns the key, the present attempt is %d.",
						   attempt, row->attempt),
				 errhint("Stop this work; another owner does it. Make leases longer or call heartbeat() more often where this is frequent.")));
}

/* The same for callers who need the claim unfinished. */
static void
owned_claim_in_progress(const HeldClaim *held, int32 attempt)
{
	owned_claim(held, attempt);
	switch (held->row.status)
	{
		case KEY_IN_PROGRESS:
			break;
		case KEY_RELEASED:
			no_such_claim(held, "The claim was released.");
			break;
		case KEY_ERASED:
			no_such_claim(held, "The key was erased.");
			break;
		default:
			no_such_claim(held, "The claim has ended with a result.");
			break;
	}
}

static int32
attempt_from_arg(FunctionCallInfo fcinfo, int arg)
{
	int32		attempt = PG_ARGISNULL(arg) ? NO_ATTEMPT : PG_GETARG_INT32(arg);

	if (!PG_ARGISNULL(arg) && attempt < 1)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("attempt must be one or more"),
				 errdetail("The value given is %d.", attempt),
				 errhint("Pass the attempt that claim() returned.")));
	return attempt;
}

static int32
status_code_from_arg(FunctionCallInfo fcinfo, int arg)
{
	int32		status_code = PG_ARGISNULL(arg) ? NO_STATUS_CODE : PG_GETARG_INT32(arg);

	if (!PG_ARGISNULL(arg) && (status_code < 100 || status_code > 599))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("status_code must be an HTTP status"),
				 errdetail("The value given is %d.", status_code),
				 errhint("Give a number from 100 to 599, or leave it out.")));
	return status_code;
}

/*
 * A jsonb argument as it came, toasted or not.  Raises IK413 where it is
 * larger than the policy allows.
 */
static Jsonb *
stored_json_from_arg(FunctionCallInfo fcinfo, int arg, const char *name,
					 const Policy *policy)
{
	Size		size;

	if (PG_ARGISNULL(arg))
		return NULL;
	size = toast_raw_datum_size(PG_GETARG_DATUM(arg)) - VARHDRSZ;
	if (size > policy->max_response_bytes)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_TOO_LARGE)),
				 errmsg("%s is too large", name),
				 errdetail("It has %zu bytes, the most allowed is %zu.",
						   size, policy->max_response_bytes),
				 errhint("Store what is needed to build it again, or raise idempotency.max_response_size.")));
	return (Jsonb *) PG_GETARG_POINTER(arg);
}

static bool
same_json(Jsonb *a, Jsonb *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return DatumGetBool(DirectFunctionCall2(jsonb_eq, PointerGetDatum(a),
											PointerGetDatum(b)));
}

static bool
same_nullable_text(text *a, text *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return same_text(DatumGetTextPP(PointerGetDatum(a)),
					 DatumGetTextPP(PointerGetDatum(b)));
}

void
end_claim(const IdempotencyKey *key, const Result *result,
		  int32 attempt, const Interval *ttl)
{
	HeldClaim	held = {.key = *key};
	KeyRow	   *row = &held.row;

	hold_claim(&held);
	owned_claim(&held, attempt);

	/* The reply to an earlier call may have been lost. */
	if (row->status == result->status &&
		row->status_code == result->status_code &&
		same_nullable_text(row->resource_id, result->resource_id) &&
		same_json(row->response, result->response))
	{
		let_go(&held);
		return;
	}
	owned_claim_in_progress(&held, attempt);

	row->status = result->status;
	row->status_code = result->status_code;
	row->resource_id = result->resource_id;
	row->response = result->response;
	row->recovery_point = NULL;
	row->state = NULL;
	row->lease_until = NO_TIME;
	row->completed_at = held.now;

	/*
	 * Where claim and completion share a transaction, the key is remembered
	 * from the claim on: to others they happen at once.
	 */
	if (ttl != NULL)
		row->expires_at = time_after(held.now, ttl);
	else
		row->expires_at = time_after(claimed_in_this_transaction(row) ?
									 row->claimed_at : held.now,
									 row->ttl ? row->ttl : &held.policy.ttl);
	write_claim(&held);
}

/* Make the row of a held claim one that can be claimed again. */
static void
write_released(HeldClaim *held)
{
	KeyRow	   *row = &held->row;

	row->status = KEY_RELEASED;
	row->status_code = NO_STATUS_CODE;
	row->fingerprint = NULL;
	row->resource_id = NULL;
	row->response = NULL;
	row->recovery_point = NULL;
	row->state = NULL;
	row->lease_until = NO_TIME;
	row->completed_at = NO_TIME;
	write_claim(held);
}

bool
reopen_claim(const IdempotencyKey *key, int32 attempt, const WaitLimit *limit)
{
	HeldClaim	held = {.key = *key};

	if (!hold_claim_within(&held, limit))
		return false;
	if (held.found && held.row.attempt == attempt &&
		held.row.status != KEY_IN_PROGRESS && held.row.status != KEY_RELEASED)
		write_released(&held);
	else
		let_go(&held);
	return true;
}

/* complete() and fail(), of which status tells the one. */
static void
end_claim_from_args(FunctionCallInfo fcinfo, KeyStatus status)
{
	IdempotencyKey key;
	Policy		policy;
	Result		result = {.status = status};
	int32		attempt;
	Interval   *ttl;

	known_key_from_args(&key, fcinfo, 0, 1);
	policy_of_scope(&policy, key.scope);
	result.response = stored_json_from_arg(fcinfo, 2, "response", &policy);
	result.resource_id = PG_ARGISNULL(3) ? NULL : (text *) PG_GETARG_POINTER(3);
	result.status_code = status_code_from_arg(fcinfo, 4);
	attempt = attempt_from_arg(fcinfo, 5);
	ttl = term_from_arg(fcinfo, 6, "ttl");
	end_claim(&key, &result, attempt, ttl);
}

/*
 * complete(key text, scope text, response jsonb, resource_id text,
 *			status_code integer, attempt integer, ttl interval)
 *
 * Stores the result of the caller's claim.  Completing again with the same
 * result changes nothing.  Raises IK404 where there is no claim to complete,
 * IK413 where the response is too large, IK423 where the attempt was
 * superseded, IK428 where the attempt is needed and missing, IK400 for other
 * bad arguments.
 */
Datum
idempotency_complete(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("idempotency.complete()");
	end_claim_from_args(fcinfo, KEY_COMPLETED);
	PG_RETURN_VOID();
}

/* fail(): as complete(), for a failure that is final. */
Datum
idempotency_fail(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("idempotency.fail()");
	end_claim_from_args(fcinfo, KEY_FAILED);
	PG_RETURN_VOID();
}

/*
 * release(key text, scope text, attempt integer)
 *
 * Gives the key back.  Only the attempt is kept, so that an earlier owner is
 * still known as one.  Errors as complete().
 */
Datum
idempotency_release(PG_FUNCTION_ARGS)
{
	HeldClaim	held;
	int32		attempt;

	PreventCommandIfReadOnly("idempotency.release()");
	known_key_from_args(&held.key, fcinfo, 0, 1);
	attempt = attempt_from_arg(fcinfo, 2);

	hold_claim(&held);
	owned_claim_in_progress(&held, attempt);
	write_released(&held);
	PG_RETURN_VOID();
}

/* Let the lease of a held claim run from now. */
static void
renew_lease(HeldClaim *held, const Interval *lease)
{
	KeyRow	   *row = &held->row;

	row->lease_until = time_after(held->now, lease ? lease : &held->policy.lease);
	/* An unfinished claim never expires before its lease. */
	row->expires_at = Max(row->expires_at, row->lease_until);
}

/*
 * heartbeat(key text, scope text, attempt integer, lease interval)
 *		returns timestamptz
 *
 * Renews the lease of the caller's claim and returns its new end.  Errors as
 * complete().
 */
Datum
idempotency_heartbeat(PG_FUNCTION_ARGS)
{
	HeldClaim	held;
	int32		attempt;
	Interval   *lease;

	PreventCommandIfReadOnly("idempotency.heartbeat()");
	known_key_from_args(&held.key, fcinfo, 0, 1);
	attempt = attempt_from_arg(fcinfo, 2);
	lease = term_from_arg(fcinfo, 3, "lease");

	hold_claim(&held);
	owned_claim_in_progress(&held, attempt);
	renew_lease(&held, lease);
	write_claim(&held);
	PG_RETURN_TIMESTAMPTZ(held.row.lease_until);
}

/*
 * checkpoint(key text, scope text, recovery_point text, state jsonb,
 *			  attempt integer, lease interval)
 *
 * Notes a step that the caller's claim has passed, replacing what was noted
 * before, and renews the lease.  Errors as complete().
 */
Datum
idempotency_checkpoint(PG_FUNCTION_ARGS)
{
	HeldClaim	held;
	Jsonb	   *state;
	int32		attempt;
	Interval   *lease;

	PreventCommandIfReadOnly("idempotency.checkpoint()");
	known_key_from_args(&held.key, fcinfo, 0, 1);
	policy_of_scope(&held.policy, held.key.scope);
	state = stored_json_from_arg(fcinfo, 3, "state", &held.policy);
	attempt = attempt_from_arg(fcinfo, 4);
	lease = term_from_arg(fcinfo, 5, "lease");

	hold_claim(&held);
	owned_claim_in_progress(&held, attempt);
	held.row.recovery_point = PG_ARGISNULL(2) ? NULL : (text *) PG_GETARG_POINTER(2);
	held.row.state = state;
	renew_lease(&held, lease);
	write_claim(&held);
	PG_RETURN_VOID();
}
