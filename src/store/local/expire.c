/*-------------------------------------------------------------------------
 *
 * expire.c
 *	  Expiry in the local store.
 *
 * First the slots of the wheel whose upper bound is past are emptied and turned,
 * then expired rows are deleted from keys_long and from slots laid too far
 * ahead.  Expired rows in any other slot stay: they count as absent (W4), and
 * are removed with their slot.  Empty slots that are not at a tick of the present
 * length are laid last, since claims may wait for the end of that transaction.
 *
 * These tables have no index on expires_at: it would cost each claim an index
 * insertion, and completions would no longer be heap-only updates.  So each
 * round reads a bounded number of pages in search of expired
 * rows.  A round can't continue where the last one ended, which may have run
 * in another process; it begins at a random page.
 *
 * A row is deleted by its place, without looking its key up again.  This is
 * what may happen between reading the row and locking its key, and why nothing
 * is lost:
 *
 *		- Another transaction has replaced, moved or deleted the row, or is
 *		  about to, or a user has locked it.  The deletion neither follows the
 *		  row to its next version nor waits: it fails.
 *		- Another transaction has claimed the key again, in another leaf, since
 *		  the row counts as absent.  It still does, and may be deleted.
 *		- The row has been removed and another one is in its place.  This is
 *		  impossible: the walk keeps the page pinned while it uses the row, and
 *		  whatever reclaims space on the page, VACUUM included, waits until no
 *		  backend has it pinned.
 *
 * No version of a row ever changes, so a version that had expired when it was
 * read is still expired.  The key's lock protects claims: a claim that has
 * found the expired row is going to replace it, and the row must not disappear
 * meanwhile.  The hash is enough for the lock: scope and key are not read,
 * which may be of any size in a restored row.
 *
 * The sweep does not wait for the lock: its holder is working on the key.  A
 * concurrent claim of the key finds a row that another transaction is deleting,
 * and waits for the end of that transaction.  The worker therefore deletes few
 * rows in one transaction.
 *
 * Two concurrent rounds do no harm: one of them turns the wheel (turn.c), and
 * the first to lock a key deletes its row.
 *
 * The work is done as the owner of the tables, whichever role calls sweep(), in
 * a security-restricted operation.  If foreign code runs here after all, for
 * instance as part of an index, it has only the privileges of the tables' owner,
 * who created that index.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "common/pg_prng.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "guc.h"
#include "miscadmin.h"
#include "objects.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "store/keylock.h"
#include "store/keyrow.h"
#include "store/local/expire.h"
#include "store/local/lay.h"
#include "store/local/tick.h"
#include "store/local/turn.h"
#include "store/store.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

/* Rows that are deleted in one step. */
#define ROWS_IN_A_STEP	500

/* The walk is paused after reading this number of pages. */
#define WALK_PAGES	1000

/* The lock is owned by the transaction, as in leaf.c. */
static bool
open_walked_leaf(LongWalk *walk)
{
	Oid			relid = objects()->leaf[walk->leaf];
	ResourceOwner caller = CurrentResourceOwner;
	bool		locked;

	CurrentResourceOwner = CurTransactionResourceOwner;
	locked = ConditionalLockRelationOid(relid, RowExclusiveLock);
	if (locked)
	{
		walk->heap = table_open(relid, NoLock);
		check_triggers();
		keyrow_check_columns(RelationGetDescr(walk->heap));
	}
	CurrentResourceOwner = caller;
	return locked;
}

static void
close_walked_leaf(LongWalk *walk, LOCKMODE lock)
{
	ResourceOwner caller = CurrentResourceOwner;

	CurrentResourceOwner = CurTransactionResourceOwner;
	table_close(walk->heap, lock);
	CurrentResourceOwner = caller;
}

/*
 * Resume the walk, for a bounded number of pages.  Returns false if it is
 * over, or if the table is locked against writing; it never waits.
 */
static bool
walk_resume(LongWalk *walk)
{
	BlockNumber pages;
	ItemPointerData from;
	ItemPointerData to;

	if (walk->pages_left == 0)
		return false;
	if (!open_walked_leaf(walk))
	{
		walk->pages_left = 0;
		return false;
	}
	pages = RelationGetNumberOfBlocks(walk->heap);
	walk->pages_left = Min(walk->pages_left, pages);
	if (walk->pages_left == 0)
	{
		close_walked_leaf(walk, RowExclusiveLock);
		return false;
	}
	if (!walk->begun)
		walk->next = pg_prng_uint64_range(&pg_global_prng_state, 0, pages - 1);
	walk->begun = true;
	if (walk->next >= pages)
		walk->next = 0;
	walk->end = Min(walk->next + Min(walk->pages_left, WALK_PAGES), pages);
	walk->deleted = false;
	walk->tts = table_slot_create(walk->heap, NULL);
	ItemPointerSet(&from, walk->next, FirstOffsetNumber);
	ItemPointerSet(&to, walk->end - 1, MaxOffsetNumber);
	walk->scan = begin_tid_range_scan(walk->heap, SnapshotSelf, &from, &to);
	return true;
}

/* Continue with the given page. */
static void
walk_on(LongWalk *walk, BlockNumber page)
{
	walk->pages_left -= page - walk->next;
	walk->next = page;
}

/*
 * The key of the next expired row that the current transaction has not written
 * itself.  Returns false if it is time for a pause.
 */
static bool
walk_next(LongWalk *walk, TimestampTz now, IdempotencyKey *key)
{
	while (table_scan_getnextslot_tidrange(walk->scan, ForwardScanDirection, walk->tts))
	{
		CHECK_FOR_INTERRUPTS();
		walk_on(walk, ItemPointerGetBlockNumber(&walk->tts->tts_tid));
		if (keyrow_expires_at(walk->tts) <= now && !keyrow_is_own(walk->tts))
		{
			keyrow_hash(key, walk->tts);
			return true;
		}
	}
	walk_on(walk, walk->end);
	return false;
}

/*
 * Delete that row.  The caller holds its key's lock.  Returns false, without
 * waiting, if a transaction has replaced or deleted the row since, or works on
 * it.
 */
static bool
walk_delete(LongWalk *walk)
{
	walk->deleted = true;
	return delete_tuple_if_free(walk->heap, &walk->tts->tts_tid);
}

/*
 * The table stays locked to the end of the transaction if something was deleted,
 * and is unlocked otherwise.  A page that was not read to its end will be read
 * again.
 */
static void
walk_pause(LongWalk *walk)
{
	table_endscan(walk->scan);
	ExecDropSingleTupleTableSlot(walk->tts);
	close_walked_leaf(walk, walk->deleted ? NoLock : RowExclusiveLock);
	if (walk->deleted)
		CommandCounterIncrement();
}

/*
 * Begin with the rows of the next leaf that the wheel does not empty in time:
 * first the slots that are laid too far ahead, last keys_long.  Returns false
 * if there is no such leaf left.
 */
static bool
next_leaf(LocalExpiry *expiry)
{
	Wheel		wheel;

	wheel_read(&wheel);
	while (expiry->next_leaf < LEAVES)
	{
		int			leaf = expiry->next_leaf++;

		if (leaf == LEAF_LONG ||
			(!wheel.unused[leaf] &&
			 slot_reaches_too_far(&wheel, leaf, GetCurrentTimestamp())))
		{
			expiry->walk.leaf = leaf;
			expiry->walk.begun = false;
			expiry->walk.pages_left = expiry->pages_of_leaf;
			return true;
		}
	}
	return false;
}

/* Returns whether a slot was turned. */
static bool
turn_slot(Expiry *expiry)
{
	int			turned;

	if (expiry->local.turns_left == 0)
		return false;
	turned = wheel_turn(1, &expiry->slots_cleared);
	expiry->local.turns_left -= turned;
	return turned > 0;
}

/* Returns whether a slot was laid. */
static bool
lay_slot(Expiry *expiry)
{
	int			laid;

	if (expiry->local.turns_left == 0)
		return false;
	laid = wheel_lay(1);
	expiry->local.turns_left -= laid;
	return laid > 0;
}

/* Returns whether there is more to read. */
static bool
delete_rows(Expiry *expiry)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		most = Min(expiry->rows_left, ROWS_IN_A_STEP);
	int64		deleted = 0;
	MemoryContext caller;
	MemoryContext context;
	IdempotencyKey key;

	if (expiry->rows_left == 0)
		return false;
	while (!walk_resume(&expiry->local.walk))
	{
		if (!next_leaf(&expiry->local))
			return false;
	}
	context = AllocSetContextCreate(CurrentMemoryContext, "expired idempotency keys",
									ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	while (deleted < most && walk_next(&expiry->local.walk, now, &key))
	{
		if (!keylock_try(&key))
			continue;
		if (walk_delete(&expiry->local.walk))
			deleted++;
		keylock_release(&key);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	walk_pause(&expiry->local.walk);
	expiry->rows_deleted += deleted;
	expiry->rows_left -= deleted;
	return expiry->rows_left > 0;
}

void
local_begin_expiry(LocalExpiry *expiry, int64 max_rows)
{
	memset(expiry, 0, sizeof(*expiry));
	expiry->turns_left = 2 * WHEEL_SLOTS;
	expiry->pages_of_leaf = Min(Max(sweep_batch, max_rows), MaxBlockNumber);
}

bool
local_expire(Expiry *expiry)
{
	Oid			caller;
	int			context;
	bool		more;

	GetUserIdAndSecContext(&caller, &context);
	SetUserIdAndSecContext(objects()->owner, context | SECURITY_RESTRICTED_OPERATION);
	more = turn_slot(expiry) || delete_rows(expiry) || lay_slot(expiry);
	SetUserIdAndSecContext(caller, context);
	return more;
}
