/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Reading the stored keys from end to end.
 *
 * For operators, all rows of some leaves, with a dirty snapshot, so that the
 * claims of transactions in progress are included.  During such a scan a row
 * may move from a page that the scan has not reached to one that it has
 * passed.  A caller that must not miss the row also asks for old versions: the
 * version that was left behind can't be pruned, since the caller's snapshot
 * still sees it.
 *
 * For the sweeper, the expired rows of keys_long, and of a slot that is laid
 * too far ahead.  These tables have no index on expires_at: it would cost each
 * claim an index insertion, and completions would no longer be heap-only
 * updates.  So each round reads a bounded number of pages in search of expired
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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "common/pg_prng.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "store/keyrow.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "store/store.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

static void
scan_leaf(StoreScan *scan)
{
	scan->heap = table_open(objects()->leaf[scan->leaf], AccessShareLock);
	(void) objects();
	keyrow_check_columns(RelationGetDescr(scan->heap));
	scan->tts = table_slot_create(scan->heap, NULL);
	if (scan->old_versions)
		InitNonVacuumableSnapshot(scan->snapshot, GlobalVisTestFor(scan->heap));
	if (scan->key == NULL)
		scan->scan = begin_table_scan(scan->heap, &scan->snapshot);
	else
	{
		ScanKeyData condition;

		ScanKeyInit(&condition, 1, BTEqualStrategyNumber, F_UUID_EQ,
					UUIDPGetDatum(&scan->key->hash));
		scan->index = index_open(objects()->leaf_index[scan->leaf], AccessShareLock);
		scan->index_scan = begin_index_scan(scan->heap, scan->index, &scan->snapshot, 1);
		index_rescan(scan->index_scan, &condition, 1, NULL, 0);
	}
}

static bool
next_row_of_leaf(StoreScan *scan)
{
	return scan->key == NULL ?
		table_scan_getnextslot(scan->scan, ForwardScanDirection, scan->tts) :
		index_getnext_slot(scan->index_scan, ForwardScanDirection, scan->tts);
}

static void
leave_leaf(StoreScan *scan)
{
	if (scan->key == NULL)
		table_endscan(scan->scan);
	else
	{
		index_endscan(scan->index_scan);
		index_close(scan->index, AccessShareLock);
	}
	ExecDropSingleTupleTableSlot(scan->tts);
	table_close(scan->heap, AccessShareLock);
}

static void
begin_scan(StoreScan *scan, const IdempotencyKey *key, int first_leaf, int last_leaf,
		   bool old_versions)
{
	scan->key = key;
	memset(&scan->snapshot, 0, sizeof(scan->snapshot));
	InitDirtySnapshot(scan->snapshot);
	scan->old_versions = old_versions;
	scan->per_row = AllocSetContextCreate(CurrentMemoryContext,
										  "idempotency key being read",
										  ALLOCSET_DEFAULT_SIZES);
	scan->leaf = first_leaf;
	scan->last_leaf = last_leaf;
	scan_leaf(scan);
}

void
store_scan_begin(StoreScan *scan, int first_leaf, int last_leaf, bool old_versions)
{
	begin_scan(scan, NULL, first_leaf, last_leaf, old_versions);
}

void
store_scan_begin_key(StoreScan *scan, const IdempotencyKey *key)
{
	begin_scan(scan, key, 0, LEAVES - 1, false);
}

bool
store_scan_next(StoreScan *scan, IdempotencyKey *key, KeyRow *row,
				TransactionId *writer)
{
	MemoryContext caller;

	CHECK_FOR_INTERRUPTS();
	while (!next_row_of_leaf(scan))
	{
		if (scan->leaf == scan->last_leaf)
			return false;
		leave_leaf(scan);
		scan->leaf++;
		scan_leaf(scan);
	}
	MemoryContextReset(scan->per_row);
	caller = MemoryContextSwitchTo(scan->per_row);
	keyrow_read(row, scan->tts);
	row->leaf = scan->leaf;
	keyrow_key(key, scan->tts);
	scan->uncommitted = TransactionIdIsValid(scan->snapshot.xmin);
	*writer = scan->uncommitted ? scan->snapshot.xmin : scan->snapshot.xmax;
	MemoryContextSwitchTo(caller);
	return true;
}

void
store_scan_end(StoreScan *scan)
{
	leave_leaf(scan);
	MemoryContextDelete(scan->per_row);
}

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

bool
store_walk_resume(LongWalk *walk)
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

bool
store_walk_next(LongWalk *walk, TimestampTz now, IdempotencyKey *key)
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

bool
store_walk_delete(LongWalk *walk)
{
	walk->deleted = true;
	return delete_tuple_if_free(walk->heap, &walk->tts->tts_tid);
}

void
store_walk_pause(LongWalk *walk)
{
	table_endscan(walk->scan);
	ExecDropSingleTupleTableSlot(walk->tts);
	close_walked_leaf(walk, walk->deleted ? NoLock : RowExclusiveLock);
	if (walk->deleted)
		CommandCounterIncrement();
}
