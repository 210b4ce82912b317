/*-------------------------------------------------------------------------
 *
 * remove.c
 *	  Removing keys, and what they say: forget, erase.
 *
 * Both hold the key (hold.c), so that they neither miss a row that is being
 * moved nor undo what a claim relies on: a claim that is waiting for the key
 * finds it absent, or erased, when this transaction ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "error.h"
#include "hold.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(idempotency_forget);
PG_FUNCTION_INFO_V1(idempotency_erase);

/* Whether a live row is held. */
static bool
holds_live_row(const HeldKey *held)
{
	return held->found && held->row.expires_at > held->now;
}

/*
 * forget(key text, scope text) returns boolean
 *
 * Removes the key, whatever its state: the next request with it runs as the
 * first.  Returns whether it was there.
 */
Datum
idempotency_forget(PG_FUNCTION_ARGS)
{
	IdempotencyKey key;
	Store		store;
	HeldKey		held;
	bool		live;

	PreventCommandIfReadOnly("idempotency.forget()");
	make_key(&key, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
	store_open(&store);
	hold_key(&held, &key, &store);
	live = holds_live_row(&held);
	if (held.found)
		store_delete(&store, &held.row);
	let_go_of_key(&held);
	store_close(&store);
	PG_RETURN_BOOL(live);
}

/*
 * erase(key text, scope text) returns boolean
 *
 * Drops response, state and fingerprint of a key that has a result, and keeps
 * the fact: a retry replays status 410 and no body.  Returns whether there is
 * such a key.  Raises IK409 for one that is in progress.
 */
Datum
idempotency_erase(PG_FUNCTION_ARGS)
{
	IdempotencyKey key;
	Store		store;
	HeldKey		held;
	KeyRow	   *row = &held.row;
	bool		erased = true;

	PreventCommandIfReadOnly("idempotency.erase()");
	make_key(&key, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
	store_open(&store);
	hold_key(&held, &key, &store);
	if (holds_live_row(&held) && row->status == KEY_IN_PROGRESS)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_CONFLICT)),
				 errmsg("idempotency key \"%s\" is in progress",
						text_to_cstring(key.name)),
				 errdetail("There is no result yet to be erased."),
				 errhint("Try again once the claim has ended, or forget the key.")));
	if (holds_live_row(&held) &&
		(row->status == KEY_COMPLETED || row->status == KEY_FAILED))
	{
		row->status = KEY_ERASED;
		row->fingerprint = NULL;
		row->response = NULL;
		row->state = NULL;
		write_held_key(&held);
	}
	else
	{
		erased = holds_live_row(&held) && row->status == KEY_ERASED;
		let_go_of_key(&held);
	}
	store_close(&store);
	PG_RETURN_BOOL(erased);
}
