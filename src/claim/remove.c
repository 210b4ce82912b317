/*-------------------------------------------------------------------------
 *
 * remove.c
 *	  Removing keys, and what they say: forget, purge, erase.
 *
 * A key is held (hold.c) while its row is removed, so that no row escapes that
 * is being moved, and nothing is undone that a claim relies on: a claim that
 * is waiting for the key finds it absent, or erased, when this transaction
 * ends.
 *
 * purge() empties a leaf as a whole where all its live rows are of the scope.
 * That is judged twice: by a first reading, and, if the leaf can then be locked
 * at once, by a second one under the lock, when nobody can add a row.  A leaf
 * that is in use, or that holds other keys, is left to the removal of rows one
 * by one.
 *
 * Leaves are emptied after all other rows are removed.  That may take long, and
 * may wait for whoever is at work on a key; and nobody gets past a leaf that is
 * locked, not even the one who is waited for:
 *
 *		purge						complete K
 *		lock leaf A, empty it
 *									lock K
 *									look for K in A: wait
 *		remove K from leaf B:
 *		  wait for K's lock
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "error.h"
#include "store/hold.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(idempotency_forget);
PG_FUNCTION_INFO_V1(idempotency_purge);
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
		store_delete(&store, &held.key, &held.row);
	unlock_held_key(&held);
	store_close(&store);
	PG_RETURN_BOOL(live);
}

/*
 * Count the live rows of the scope in a leaf.  Returns whether it has no other
 * live rows, nor any that a transaction is at work on.
 */
static bool
count_rows(int leaf, const text *scope, int64 *count)
{
	TimestampTz now = GetCurrentTimestamp();
	StoreScan	scan;
	IdempotencyKey key;
	KeyRow		row;
	TransactionId writer;
	bool		alone = true;

	*count = 0;
	store_scan_begin(&scan, leaf, leaf, false);
	while (alone && store_scan_next(&scan, &key, &row, &writer))
	{
		if (TransactionIdIsValid(writer) || row.unfinished)
			alone = false;
		else if (row.expires_at > now)
		{
			alone = same_text(key.scope, scope);
			(*count)++;
		}
	}
	store_scan_end(&scan);
	return alone;
}

/* Remove the scope's rows from a leaf; returns how many were live. */
static int64
purge_rows(int leaf, const text *scope)
{
	int64		count = 0;
	StoreScan	scan;
	Store		store;
	IdempotencyKey key;
	KeyRow		row;
	TransactionId writer;

	store_open(&store);
	store_scan_begin(&scan, leaf, leaf, true);
	while (store_scan_next(&scan, &key, &row, &writer))
	{
		HeldKey		held;
		MemoryContext caller;

		if (!same_text(key.scope, scope))
			continue;
		caller = MemoryContextSwitchTo(scan.per_row);
		hold_key(&held, &key, &store);
		if (holds_live_row(&held))
			count++;
		if (held.found)
			store_delete(&store, &held.key, &held.row);
		unlock_held_key(&held);
		MemoryContextSwitchTo(caller);
	}
	store_scan_end(&scan);
	store_close(&store);
	return count;
}

/*
 * Empty a leaf that held nothing but the scope when it was read, if it can be
 * locked at once and that is still so; else remove the scope's rows.  Returns
 * how many were live.
 */
static int64
purge_leaf(int leaf, const text *scope)
{
	List	   *locked = wheel_lock_leaf(leaf);
	int64		count;

	if (locked != NIL && count_rows(leaf, scope, &count))
	{
		(void) wheel_empty_leaf(leaf);
		return count;
	}
	wheel_unlock_leaf(locked);
	return purge_rows(leaf, scope);
}

/*
 * purge(scope text) returns bigint
 *
 * Removes every key of the scope, whatever its state, and returns how many
 * there were; a key that is claimed, or whose row moves, while it runs may
 * stay.  Where the scope fills whole leaves these are locked to the end of the
 * transaction.
 */
Datum
idempotency_purge(PG_FUNCTION_ARGS)
{
	text	   *scope = text_from_arg(fcinfo, 0);
	bool		whole[LEAVES];
	int64		purged = 0;
	Store		store;

	PreventCommandIfReadOnly("idempotency.purge()");
	if (scope == NULL)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("scope to purge must not be null"),
				 errhint("Name the scope; the empty one is a scope too.")));
	store_open(&store);
	if (store_purge(&store, scope, &purged))
		PG_RETURN_INT64(purged);
	for (int leaf = 0; leaf < LEAVES; leaf++)
	{
		int64		count;

		whole[leaf] = count_rows(leaf, scope, &count) && count > 0;
		if (!whole[leaf])
			purged += purge_rows(leaf, scope);
	}
	for (int leaf = 0; leaf < LEAVES; leaf++)
	{
		if (whole[leaf])
			purged += purge_leaf(leaf, scope);
	}
	PG_RETURN_INT64(purged);
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
						key_in_message(key.name)),
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
		unlock_held_key(&held);
	}
	store_close(&store);
	PG_RETURN_BOOL(erased);
}
