/*-------------------------------------------------------------------------
 *
 * storescan.c
 *	  Reading the stored keys from end to end.
 *
 * For operators, all rows of some leaves, with a dirty snapshot, so that the
 * claims of transactions in progress are among them.  While such a scan goes on
 * a row may move from a page that it has not reached to one that it does not
 * reach.  Who must not miss it asks for old versions, too: the one that was left
 * behind can't be pruned, as the caller's snapshot still sees it.
 *
 * For the sweeper, the expired rows of keys_long.  The table has no index on
 * expires_at: claims would pay for it at every insertion, and completions by
 * no longer being heap-only updates.  So the expired rows are looked for page
 * by page, a bounded number of pages a round.  No round remembers where the
 * last one ended, as it may have been another process; a round begins at a
 * page taken at random.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "common/pg_prng.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "keyrow.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "store.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static void
scan_leaf(StoreScan *scan)
{
	scan->heap = table_open(objects()->leaf[scan->leaf], AccessShareLock);
	keyrow_check_columns(RelationGetDescr(scan->heap));
	scan->slot = table_slot_create(scan->heap, NULL);
	if (scan->old_versions)
		InitNonVacuumableSnapshot(scan->snapshot, GlobalVisTestFor(scan->heap));
	scan->scan = begin_table_scan(scan->heap, &scan->snapshot);
}

static void
leave_leaf(StoreScan *scan)
{
	table_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	table_close(scan->heap, AccessShareLock);
}

void
store_scan_begin(StoreScan *scan, int first_leaf, int last_leaf, bool old_versions)
{
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

bool
store_scan_next(StoreScan *scan, IdempotencyKey *key, KeyRow *row,
				TransactionId *writer)
{
	MemoryContext caller;

	CHECK_FOR_INTERRUPTS();
	while (!table_scan_getnextslot(scan->scan, ForwardScanDirection, scan->slot))
	{
		if (scan->leaf == scan->last_leaf)
			return false;
		leave_leaf(scan);
		scan->leaf++;
		scan_leaf(scan);
	}
	MemoryContextReset(scan->per_row);
	caller = MemoryContextSwitchTo(scan->per_row);
	keyrow_read(row, scan->slot);
	row->leaf = scan->leaf;
	keyrow_key(key, scan->slot);
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

/* Most pages that are read in one go. */
#define WALK_PAGES	1000

/* A copy of the key in the slot if its row has expired, else NULL. */
static IdempotencyKey *
expired_key(TupleTableSlot *slot, TimestampTz now)
{
	IdempotencyKey *key;

	if (keyrow_expires_at(slot) > now)
		return NULL;
	key = palloc(sizeof(IdempotencyKey));
	keyrow_key(key, slot);
	return key;
}

/*
 * Read pages from the given one to before the other, and stop at the end of a
 * page when there is enough.  Returns the page to go on with.
 */
static BlockNumber
collect_expired(Relation heap, BlockNumber page, BlockNumber before,
				TimestampTz now, int enough, List **keys)
{
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	ItemPointerData from;
	ItemPointerData to;
	TableScanDesc scan;
	BlockNumber current = page;

	ItemPointerSet(&from, page, FirstOffsetNumber);
	ItemPointerSet(&to, before - 1, MaxOffsetNumber);
	scan = begin_tid_range_scan(heap, SnapshotSelf, &from, &to);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		BlockNumber block = ItemPointerGetBlockNumber(&slot->tts_tid);
		IdempotencyKey *key;

		CHECK_FOR_INTERRUPTS();
		if (block != current && list_length(*keys) >= enough)
		{
			before = block;
			break;
		}
		current = block;
		key = expired_key(slot, now);
		if (key != NULL)
			*keys = lappend(*keys, key);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return before;
}

List *
store_expired(LongWalk *walk, TimestampTz now, int enough)
{
	Oid			relid = objects()->leaf[LEAF_LONG];
	List	   *keys = NIL;
	Relation	heap;
	BlockNumber pages;
	BlockNumber end;

	if (!ConditionalLockRelationOid(relid, RowExclusiveLock))
	{
		walk->pages_left = 0;
		return NIL;
	}
	heap = table_open(relid, NoLock);
	pages = RelationGetNumberOfBlocks(heap);
	walk->pages_left = Min(walk->pages_left, pages);
	if (walk->pages_left > 0)
	{
		if (!walk->begun)
			walk->next = pg_prng_uint64_range(&pg_global_prng_state, 0, pages - 1);
		walk->begun = true;
		if (walk->next >= pages)
			walk->next = 0;
		end = Min(walk->next + Min(walk->pages_left, WALK_PAGES), pages);
		end = collect_expired(heap, walk->next, end, now, enough, &keys);
		walk->pages_left -= end - walk->next;
		walk->next = end;
	}
	/* What is deleted next must not meet a lock to wait for. */
	table_close(heap, keys == NIL ? RowExclusiveLock : NoLock);
	return keys;
}
