/*-------------------------------------------------------------------------
 *
 * remove.c
 *	  Removing keys or their contents, or keeping them longer: forget, purge,
 *	  erase, erase_scope, retain.
 *
 * A key is held (hold.c) while its row is removed, so that a row that is being
 * moved is not missed, and a claim does not rely on a row that disappears: a
 * claim that waits for the key finds it absent, or erased, when this
 * transaction ends.
 *
 * An owner that has not ended its claim must not be able to end another
 * owner's.  So the row of an unfinished claim stays, with its attempt only, as
 * a released key whose lease_until marks that an owner may still return: the
 * next claim has a higher attempt, and the late owner is refused.  Only expiry
 * removes such a row.  A claim that only the current transaction can see is
 * removed as a whole.
 *
 * purge() and erase_scope() read all rows and treat each as forget() and
 * erase() do.  They lock nothing but the keys, so that claims of other keys
 * don't wait for a long call, or for the long transaction that it is part of.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "claim/complete.h"
#include "claim/lookup.h"
#include "error.h"
#include "interval.h"
#include "miscadmin.h"
#include "store/hold.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(idempotency_forget);
PG_FUNCTION_INFO_V1(idempotency_purge);
PG_FUNCTION_INFO_V1(idempotency_erase);
PG_FUNCTION_INFO_V1(idempotency_erase_scope);
PG_FUNCTION_INFO_V1(idempotency_retain);

/* Whether a live row is held. */
static bool
holds_live_row(const HeldKey *held)
{
	return held->found && held->row.expires_at > held->now;
}

/*
 * Whether the row's attempt is needed to recognize a late owner of this or an
 * earlier claim.
 */
static bool
fences_owner(const KeyRow *row)
{
	if (row->claimed_here && row->attempt == 1)
		return false;
	return row->status == KEY_IN_PROGRESS ||
		(row->status == KEY_RELEASED && row->lease_until != NO_TIME);
}

/* Forget a held key.  Returns whether there was anything to forget. */
static bool
forget_held_key(HeldKey *held)
{
	KeyRow	   *row = &held->row;

	if (!held->found)
	{
		unlock_held_key(held);
		return false;
	}
	if (!holds_live_row(held) || !fences_owner(row))
	{
		bool		live = holds_live_row(held);

		store_delete(held->store, &held->key, row);
		unlock_held_key(held);
		return live;
	}
	if (row->status == KEY_RELEASED)
	{
		unlock_held_key(held);
		return false;
	}
	write_released(held, Max(row->lease_until, held->now));
	return true;
}

/*
 * forget(key text, scope text) returns boolean
 *
 * Removes the key, whatever its state: the next request with it runs as the
 * first, except that the attempt rises if the claim was unfinished.  Returns
 * whether the key was stored.
 */
Datum
idempotency_forget(PG_FUNCTION_ARGS)
{
	IdempotencyKey key;
	Store		store;
	HeldKey		held;
	bool		forgotten;

	PreventCommandIfReadOnly("idempotency.forget()");
	make_key(&key, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
	store_open(&store);
	hold_key(&held, &key, &store);
	forgotten = forget_held_key(&held);
	store_close(&store);
	PG_RETURN_BOOL(forgotten);
}

static text *
scope_from_arg(FunctionCallInfo fcinfo, const char *what)
{
	text	   *scope = text_from_arg(fcinfo, 0);

	if (scope == NULL)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("scope to %s must not be null", what),
				 errhint("Name the scope; the empty one is a scope too.")));
	check_scope(scope);
	return scope;
}

static bool
purge_key(const IdempotencyKey *key, Store *store)
{
	HeldKey		held;

	hold_key(&held, key, store);
	return forget_held_key(&held);
}

/*
 * purge(scope text) returns bigint
 *
 * Forgets every key of the scope and of those below it, and returns how many
 * there were; a key that is claimed while it runs may stay.
 */
Datum
idempotency_purge(PG_FUNCTION_ARGS)
{
	text	   *scope;
	int64		purged;
	Store		store;

	PreventCommandIfReadOnly("idempotency.purge()");
	scope = scope_from_arg(fcinfo, "purge");
	store_open(&store);
	purged = store_purge(&store, scope, purge_key);
	store_close(&store);
	PG_RETURN_INT64(purged);
}

static bool
has_result(const KeyRow *row)
{
	return row->status == KEY_COMPLETED || row->status == KEY_FAILED;
}

/*
 * Erase the contents of a held key if it has a result.  Returns whether it had
 * one.
 */
static bool
erase_held_key(HeldKey *held)
{
	KeyRow	   *row = &held->row;

	if (!holds_live_row(held) || !has_result(row))
	{
		unlock_held_key(held);
		return false;
	}
	row->status = KEY_ERASED;
	row->fingerprint = NULL;
	row->response = NULL;
	row->state = NULL;
	write_held_key(held);
	return true;
}

static void
in_progress_error(const HeldKey *held, const char *verb)
{
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_CONFLICT)),
			 errmsg("idempotency key \"%s\" is in progress",
					key_in_message(held->key.name)),
			 errdetail("There is no result yet to be %s.", verb),
			 errhint("Try again once the claim has ended, or forget the key.")));
}

static bool
holds_claim_in_progress(const HeldKey *held)
{
	return holds_live_row(held) && held->row.status == KEY_IN_PROGRESS;
}

/*
 * erase(key text, scope text) returns boolean
 *
 * Removes response, state and fingerprint of a key that has a result, and
 * keeps the key: a retry replays status 410 and no body.  Returns whether
 * there is such a key.  Raises IK409 if its claim is in progress.
 */
Datum
idempotency_erase(PG_FUNCTION_ARGS)
{
	IdempotencyKey key;
	Store		store;
	HeldKey		held;
	bool		erased_before;
	bool		erased;

	PreventCommandIfReadOnly("idempotency.erase()");
	make_key(&key, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
	store_open(&store);
	hold_key(&held, &key, &store);
	if (holds_claim_in_progress(&held))
		in_progress_error(&held, "erased");
	erased_before = holds_live_row(&held) && held.row.status == KEY_ERASED;
	erased = erase_held_key(&held) || erased_before;
	store_close(&store);
	PG_RETURN_BOOL(erased);
}

/*
 * The call does not wait for a claim in progress.  It waits for a transaction
 * that works on a committed result, which must not be left unerased.
 */
static bool
erase_result(const IdempotencyKey *key, Store *store)
{
	HeldKey		held;
	KeyRow		row;

	if (!lookup_key(key, &row) || !has_result(&row))
		return false;
	hold_key(&held, key, store);
	return erase_held_key(&held);
}

/*
 * erase_scope(scope text) returns bigint
 *
 * Erases every key of the scope, and of those below it, that has a result, and
 * returns how many there were.  Keys in progress are not changed.
 */
Datum
idempotency_erase_scope(PG_FUNCTION_ARGS)
{
	text	   *scope;
	int64		erased;
	Store		store;

	PreventCommandIfReadOnly("idempotency.erase_scope()");
	scope = scope_from_arg(fcinfo, "erase");
	store_open(&store);
	erased = store_erase_scope(&store, scope, erase_result);
	store_close(&store);
	PG_RETURN_INT64(erased);
}

/*
 * retain(key text, scope text, ttl interval) returns timestamptz
 *
 * Keeps the key's result, erased or not, for the given time from now, and
 * returns when it expires; NULL if there is none.  Raises IK409 if a claim is
 * in progress, IK400 for a bad key or ttl.
 */
Datum
idempotency_retain(PG_FUNCTION_ARGS)
{
	IdempotencyKey key;
	Store		store;
	HeldKey		held;
	Interval   *ttl;
	bool		retained;

	PreventCommandIfReadOnly("idempotency.retain()");
	make_key(&key, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
	ttl = interval_from_arg(fcinfo, 2, "ttl");
	if (ttl == NULL)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("ttl must not be null"),
				 errhint("Give the time for which the result is to be kept.")));
	store_open(&store);
	hold_key(&held, &key, &store);
	if (holds_claim_in_progress(&held))
		in_progress_error(&held, "remembered");
	retained = holds_live_row(&held) &&
		(has_result(&held.row) || held.row.status == KEY_ERASED);
	if (retained)
	{
		held.row.expires_at = time_after(held.now, ttl);
		write_held_key(&held);
	}
	else
		unlock_held_key(&held);
	store_close(&store);
	if (!retained)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(held.row.expires_at);
}
