/*-------------------------------------------------------------------------
 *
 * empty_leaf.c
 *	  Emptying a leaf as a whole, without waiting for it.
 *
 * W2: a leaf is emptied under an ACCESS EXCLUSIVE lock on its table, toast
 * table and indexes, each of which is taken only if it is free.  A lock request
 * that waited would make every later claim that looks into the leaf wait behind
 * it.  So would a request that waited for a toast table in use by autovacuum
 * while the leaf itself is locked already.  A leaf to which the current
 * transaction has written is busy like any other: its lock would be granted,
 * but the rows are not committed yet.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "compat.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "objects.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "store/local/empty_leaf.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* How often, at intervals of a millisecond, locking a leaf is tried. */
#define LOCK_ATTEMPTS		100

bool
leaf_has_no_page(Oid relid)
{
	Relation	relation = table_open(relid, NoLock);
	bool		none = RelationGetNumberOfBlocks(relation) == 0;

	table_close(relation, NoLock);
	return none;
}

bool
leaf_is_empty(Oid relid)
{
	Relation	relation;
	TupleTableSlot *tts;
	TableScanDesc scan;
	bool		empty;

	if (leaf_has_no_page(relid))
		return true;
	relation = table_open(relid, NoLock);
	tts = table_slot_create(relation, NULL);
	scan = begin_table_scan(relation, SnapshotSelf);
	empty = !table_scan_getnextslot(scan, ForwardScanDirection, tts);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(tts);
	table_close(relation, NoLock);
	return empty;
}

/* Lock a table or index if the lock is free, and add it to the list. */
static bool
lock_if_free(Oid relid, List **locked)
{
	if (!ConditionalLockRelationOid(relid, AccessExclusiveLock))
		return false;
	*locked = lappend_oid(*locked, relid);
	return true;
}

/* The same for a table that is locked already, and all its indexes. */
static bool
lock_indexes_if_free(Relation table, List **locked)
{
	List	   *indexes = RelationGetIndexList(table);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		if (!lock_if_free(lfirst_oid(cell), locked))
			return false;
	}
	return true;
}

static bool
lock_all_of_leaf(Oid relid, List **locked)
{
	Relation	leaf;
	Oid			toast_relid;
	bool		done;

	if (!lock_if_free(relid, locked))
		return false;
	leaf = table_open(relid, NoLock);
	toast_relid = leaf->rd_rel->reltoastrelid;
	done = lock_indexes_if_free(leaf, locked);
	table_close(leaf, NoLock);

	if (done && OidIsValid(toast_relid))
	{
		Relation	toast;

		if (!lock_if_free(toast_relid, locked))
			return false;
		toast = table_open(toast_relid, NoLock);
		done = lock_indexes_if_free(toast, locked);
		table_close(toast, NoLock);
	}
	return done;
}

void
unlock_leaf(List *locked)
{
	ListCell   *cell;

	foreach(cell, locked)
		UnlockRelationOid(lfirst_oid(cell), AccessExclusiveLock);
	list_free(locked);
}

/*
 * Lock all of a leaf at once, or nothing if any part of it is in use.  Never
 * waits.  Returns what was locked, or NIL.
 */
static List *
lock_leaf(int leaf)
{
	Oid			relid = objects()->leaf[leaf];
	LOCKTAG		tag;
	List	   *locked = NIL;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	if (lock_held_by_me(&tag) && !leaf_has_no_page(relid))
		return NIL;
	if (lock_all_of_leaf(relid, &locked))
		return locked;
	unlock_leaf(locked);
	return NIL;
}

/*
 * Each claim opens a leaf for some microseconds, and on a busy server nearly
 * always some claim has it open.  The time limit also bounds the wait for a
 * transaction that has written to the leaf.
 */
List *
lock_leaf_between_claims(int leaf)
{
	for (int attempt = 0; attempt < LOCK_ATTEMPTS; attempt++)
	{
		List	   *locked = lock_leaf(leaf);

		if (locked != NIL)
			return locked;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 1L, new_wait_event("IdempotencySlotInUse"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return NIL;
}

bool
empty_leaf(int leaf)
{
	Oid			relid = objects()->leaf[leaf];
	Relation	relation = table_open(relid, NoLock);
	bool		used = RelationGetNumberOfBlocks(relation) > 0;

	/* TRUNCATE would fire a trigger. */
	check_triggers();
	if (used)
		truncate_guts(list_make1(relation), list_make1_oid(relid),
					  RelationIsLogicallyLogged(relation) ? list_make1_oid(relid) : NIL);
	table_close(relation, NoLock);
	return used;
}
