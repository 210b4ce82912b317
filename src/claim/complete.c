/*-------------------------------------------------------------------------
 *
 * complete.c
 *	  Ending a claim, renewing its lease, and storing its progress.
 *
 * complete(), fail(), release(), heartbeat() and checkpoint() share their
 * steps: find the claim, check that it is the caller's, change the row.
 * owned_claim() decides whose claim it is.
 *
 * All of this happens under the key's lock, after waiting for any other
 * transaction that has written the row, so that a claim is judged by its
 * latest version:
 *
 *		- A's lease has run out and B has taken over: A finds B's attempt and
 *		  is refused.  While B has not committed, A waits for it: B may roll
 *		  back, and then A still owns the key.
 *		- A and another caller with A's attempt complete together: one writes,
 *		  the other waits for its end, and finds the claim completed: with the
 *		  same result, or an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "claim/complete.h"
#include "claim/durable_replay.h"
#include "error.h"
#include "miscadmin.h"
#include "interval.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

PG_FUNCTION_INFO_V1(idempotency_complete);
PG_FUNCTION_INFO_V1(idempotency_fail);
PG_FUNCTION_INFO_V1(idempotency_release);
PG_FUNCTION_INFO_V1(idempotency_heartbeat);
PG_FUNCTION_INFO_V1(idempotency_checkpoint);

/*
 * If no claim is stored, it may have been made and rolled back: a claim
 * without a lease can't be committed unfinished.
 */
static void
claim_not_found(const HeldKey *held)
{
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_NOT_FOUND)),
			 errmsg("no claim of idempotency key \"%s\" is in progress",
					key_in_message(held->key.name)),
			 errdetail("Nothing is stored under this key and scope."),
			 errhint("Claim the key first, with the same key and scope. If it was claimed, its transaction has ended in between: look for autocommit, an ORM or a framework that commits.")));
}

static void
no_such_claim(const HeldKey *held, const char *detail)
{
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_NOT_FOUND)),
			 errmsg("no claim of idempotency key \"%s\" is in progress",
					key_in_message(held->key.name)),
			 errdetail_internal("%s", detail),
			 errhint("Claim the key first, with the same key and scope, and end the claim once.")));
}

/*
 * Check that the held claim is the caller's: by the attempt, or, if that is
 * left out, by the transaction that made the claim.  A claim whose lease has
 * run out still belongs to its owner until another takes it over.  A claim of
 * the current transaction can't have expired: no other session has seen it.
 */
static void
owned_claim(const HeldKey *held, int32 attempt)
{
	const KeyRow *row = &held->row;
	bool		own = held->found && row->claimed_here;

	if (!held->found || (row->expires_at <= held->now && !own))
		claim_not_found(held);
	if (row->status == KEY_ISSUED)
		no_such_claim(held, "The key was issued and has not been claimed.");
	if (attempt == NO_ATTEMPT && !own)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_ATTEMPT_REQUIRED)),
				 errmsg("attempt is required for idempotency key \"%s\"",
						key_in_message(held->key.name)),
				 errdetail("The claim was made in an earlier transaction."),
				 errhint("Something committed in between. If claim and completion belong in one transaction, look for autocommit, an ORM or a framework that commits; if not, pass the attempt that claim() returned.")));
	if (attempt != NO_ATTEMPT && attempt != row->attempt)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_LOCKED)),
				 errmsg("idempotency key \"%s\" is owned by another attempt",
						key_in_message(held->key.name)),
				 errdetail("Attempt %d does not own the key; the current attempt is %d.",
						   attempt, row->attempt),
				 errhint("Stop this work; another owner does it. If this is frequent, make leases longer or call heartbeat() more often.")));
}

/* The same for callers that require an unfinished claim. */
static void
owned_claim_in_progress(const HeldKey *held, int32 attempt)
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

int32
checked_attempt(int32 attempt)
{
	if (attempt < 1)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("attempt must be one or more"),
				 errdetail("The value given is %d.", attempt),
				 errhint("Pass the attempt that claim() returned.")));
	return attempt;
}

int32
checked_status_code(int32 status_code)
{
	if (status_code < 100 || status_code > 599)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("status_code must be an HTTP status"),
				 errdetail("The value given is %d.", status_code),
				 errhint("Give a number from 100 to 599, or leave it out.")));
	return status_code;
}

static int32
attempt_from_arg(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NO_ATTEMPT : checked_attempt(PG_GETARG_INT32(arg));
}

/* Bytes of a value, toasted or not. */
static Size
size_of(const void *value)
{
	return value == NULL ? 0 : toast_raw_datum_size(PointerGetDatum(value)) - VARHDRSZ;
}

/*
 * Raise IK413 if response and resource id, or state and recovery point, are
 * together larger than the policy allows.  A row never has both pairs.
 */
static void
check_size(const Jsonb *json, const char *json_name,
		   const text *string, const char *string_name, const Policy *policy)
{
	Size		size = size_of(json) + size_of(string);

	if (size > policy->max_response_bytes)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_TOO_LARGE)),
				 errmsg("%s is too large", json != NULL ? json_name : string_name),
				 json != NULL && string != NULL ?
				 errdetail("With its %s it has %zu bytes; the maximum is %zu.",
						   string_name, size, policy->max_response_bytes) :
				 errdetail("It has %zu bytes; the maximum is %zu.",
						   size, policy->max_response_bytes),
				 errhint("Store what is needed to build it again, or raise idempotency.max_response_size.")));
}

/* An argument as it was passed, toasted or not. */
static void *
stored_value_from_arg(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : PG_GETARG_POINTER(arg);
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
complete_key(const IdempotencyKey *key, Completion *completion,
			 Store *store)
{
	HeldKey		held;
	KeyRow	   *row = &held.row;

	hold_key(&held, key, store);
	/* Policies don't limit what issue() stores for itself. */
	if (!scope_is_reserved(key->scope))
		check_size(completion->response, "response", completion->resource_id, "resource_id",
				   &held.policy);
	owned_claim(&held, completion->attempt);

	/* The caller may repeat a call whose reply was lost. */
	if (row->status == completion->status &&
		row->status_code == completion->status_code &&
		same_nullable_text(row->resource_id, completion->resource_id) &&
		same_json(row->response, completion->response))
	{
		unlock_held_key(&held);
		completion->completed_at = row->completed_at;
		completion->expires_at = row->expires_at;
		/* The caller's commit writes nothing, and so does not wait. */
		if (!replay_is_durable(row))
		{
			store_close(store);
			wait_for_standbys();
		}
		return;
	}
	owned_claim_in_progress(&held, completion->attempt);

	row->status = completion->status;
	row->status_code = completion->status_code;
	row->resource_id = completion->resource_id;
	row->response = completion->response;
	row->recovery_point = NULL;
	row->state = NULL;
	row->lease_until = NO_TIME;
	row->completed_at = held.now;

	/*
	 * If claim and completion share a transaction, the ttl begins with the
	 * claim: for other sessions both happen at the same time.
	 */
	if (completion->ttl != NULL)
		row->expires_at = time_after(held.now, completion->ttl);
	else
		row->expires_at = time_after(row->claimed_here ?
									 row->claimed_at : held.now,
									 row->ttl ? row->ttl : &held.policy.ttl);
	write_held_key(&held);
	stats_count(held.policy.stats, completion->status == KEY_FAILED ?
				STATS_FAILURES : STATS_COMPLETIONS);
	completion->completed_at = row->completed_at;
	completion->expires_at = row->expires_at;
}

void
write_released(HeldKey *held, TimestampTz lease_until)
{
	KeyRow	   *row = &held->row;

	row->status = KEY_RELEASED;
	row->status_code = NO_STATUS_CODE;
	row->fingerprint = NULL;
	row->resource_id = NULL;
	row->response = NULL;
	row->recovery_point = NULL;
	row->state = NULL;
	row->lease_until = lease_until;
	row->completed_at = NO_TIME;
	write_held_key(held);
}

bool
reopen_key(const IdempotencyKey *key, int32 attempt, Store *store,
		   const WaitLimit *limit)
{
	HeldKey		held;

	if (!hold_key_within(&held, key, store, limit))
		return false;
	if (held.found && held.row.attempt == attempt &&
		held.row.status != KEY_IN_PROGRESS && held.row.status != KEY_RELEASED)
		write_released(&held, NO_TIME);
	else
		unlock_held_key(&held);
	return true;
}

static void
complete_from_args(FunctionCallInfo fcinfo, KeyStatus status)
{
	IdempotencyKey key;
	Store		store;
	Completion	completion = {.status = status};

	make_key(&key, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
	completion.response = stored_value_from_arg(fcinfo, 2);
	completion.resource_id = stored_value_from_arg(fcinfo, 3);
	if (!PG_ARGISNULL(4))
		completion.status_code = checked_status_code(PG_GETARG_INT32(4));
	completion.attempt = attempt_from_arg(fcinfo, 5);
	completion.ttl = interval_from_arg(fcinfo, 6, "ttl");
	store_open(&store);
	complete_key(&key, &completion, &store);
	store_close(&store);
}

/*
 * complete(key text, scope text, response jsonb, resource_id text,
 *			status_code integer, attempt integer, ttl interval)
 *
 * Stores the result of the caller's claim: see complete_key().  Raises IK400
 * for bad arguments.
 */
Datum
idempotency_complete(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("idempotency.complete()");
	complete_from_args(fcinfo, KEY_COMPLETED);
	PG_RETURN_VOID();
}

/* fail(): as complete(), for a failure that is final. */
Datum
idempotency_fail(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("idempotency.fail()");
	complete_from_args(fcinfo, KEY_FAILED);
	PG_RETURN_VOID();
}

/*
 * Open the store and hold the key of the first two arguments, whose claim must
 * be the caller's and unfinished.
 */
static void
hold_own_claim(HeldKey *held, Store *store, FunctionCallInfo fcinfo, int attempt_arg)
{
	IdempotencyKey key;
	int32		attempt;

	make_key(&key, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
	attempt = attempt_from_arg(fcinfo, attempt_arg);
	store_open(store);
	hold_key(held, &key, store);
	owned_claim_in_progress(held, attempt);
}

/*
 * release(key text, scope text, attempt integer)
 *
 * Gives the key back.  Only the attempt is kept, by which an earlier owner is
 * still recognized.  Raises the same errors as complete().
 */
Datum
idempotency_release(PG_FUNCTION_ARGS)
{
	Store		store;
	HeldKey		held;

	PreventCommandIfReadOnly("idempotency.release()");
	hold_own_claim(&held, &store, fcinfo, 2);
	write_released(&held, NO_TIME);
	stats_count(held.policy.stats, STATS_RELEASES);
	store_close(&store);
	PG_RETURN_VOID();
}

/*
 * Renew the lease of a held claim from now on, for the given interval or, if
 * that is NULL, for that of the claim.  A claim without a lease gets the given
 * one.
 */
static void
renew_lease(HeldKey *held, Interval *lease)
{
	KeyRow	   *row = &held->row;

	if (row->lease == NULL)
		row->lease = lease;
	row->lease_until = time_after(held->now, lease ? lease : row->lease);
	/* An unfinished claim never expires before its lease. */
	row->expires_at = Max(row->expires_at, row->lease_until);
}

/*
 * heartbeat(key text, scope text, attempt integer, lease interval)
 *		returns timestamptz
 *
 * Renews the lease of the caller's claim, or gives it one, and returns its new
 * end.  Raises the same errors as complete(), and IK400 if the claim has no
 * lease and none is given.
 */
Datum
idempotency_heartbeat(PG_FUNCTION_ARGS)
{
	Store		store;
	HeldKey		held;
	Interval   *lease;

	PreventCommandIfReadOnly("idempotency.heartbeat()");
	lease = interval_from_arg(fcinfo, 3, "lease");
	hold_own_claim(&held, &store, fcinfo, 2);
	if (lease == NULL && held.row.lease == NULL)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("claim of idempotency key \"%s\" has no lease", key_in_message(held.key.name)),
				 errdetail("There is nothing to renew: neither the claim nor its policy has asked for a lease."),
				 errhint("Give a lease for the claim.")));
	renew_lease(&held, lease);
	write_held_key(&held);
	store_close(&store);
	PG_RETURN_TIMESTAMPTZ(held.row.lease_until);
}

/*
 * checkpoint(key text, scope text, recovery_point text, state jsonb,
 *			  attempt integer, lease interval)
 *
 * Stores a step that the caller's claim has passed, replacing the previous
 * one, and renews the lease, if there is one.  Raises the same errors as
 * complete().
 */
Datum
idempotency_checkpoint(PG_FUNCTION_ARGS)
{
	Store		store;
	HeldKey		held;
	Interval   *lease;

	PreventCommandIfReadOnly("idempotency.checkpoint()");
	lease = interval_from_arg(fcinfo, 5, "lease");
	hold_own_claim(&held, &store, fcinfo, 4);
	held.row.recovery_point = stored_value_from_arg(fcinfo, 2);
	held.row.state = stored_value_from_arg(fcinfo, 3);
	check_size(held.row.state, "state", held.row.recovery_point, "recovery_point", &held.policy);
	if (lease != NULL || held.row.lease != NULL)
		renew_lease(&held, lease);
	write_held_key(&held);
	store_close(&store);
	PG_RETURN_VOID();
}
