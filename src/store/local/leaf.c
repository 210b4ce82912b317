/*-------------------------------------------------------------------------
 *
 * leaf.c
 *	  The leaves that one call has open.
 *
 * A leaf is opened when a call first probes it, and stays open to the end of
 * the call, which may probe and write it several times; a batch is one call.
 *
 * Locks: RowExclusiveLock on each open leaf and index.  When a leaf is closed
 * its lock is released if nothing was written, and otherwise kept to the end
 * of the transaction, so that no leaf is emptied while it has an uncommitted
 * row.  The locks are owned by the (sub)transaction that writes the rows, and
 * not by the portal that runs the caller: a cursor that fails in a later
 * subtransaction releases the locks of its portal, while the rows that earlier
 * fetches wrote stay.
 *
 * A leaf whose slot is past is opened for reading, under AccessShareLock: it
 * may contain a row of a transaction in progress.  That lock is not free while
 * another session holds ACCESS EXCLUSIVE on the leaf, or queues for it.  The
 * holder may be a turn; then no row in the leaf counts, and a claim does not
 * wait for it (W2).  In all other cases the claim waits, as for a leaf that is
 * not past:
 *
 *		claim of K by A			LOCK TABLE by C		claim of K by B
 *		write K into S
 *		(S passes)				lock S: waits
 *													look into S: refused, since C
 *													  queues; no turn has S
 *													lock S: waits behind C
 *		commit					lock granted
 *								commit
 *													finds K
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "store/keyrow.h"
#include "nodes/execnodes.h"
#include "storage/lmgr.h"
#include "store/local/leaf.h"
#include "store/local/turn.h"
#include "utils/rel.h"
#include "utils/resowner.h"

void
leaves_init(Leaves *leaves)
{
	memset(leaves, 0, sizeof(*leaves));
	leaves->context = CurrentMemoryContext;
}

/* What is known of a leaf, in a generation of the known tables. */
static struct
{
	uint64		generation;
	bool		has_other_indexes;
}			known[LEAVES];

/*
 * Check the columns of an open leaf and count its indexes, once in each
 * generation: with the leaf's lock all messages about it have been accepted,
 * and an index that is made concurrently waits for that lock.
 */
static void
check_leaf(Relation heap, int leaf)
{
	List	   *indexes;

	if (known[leaf].generation == objects_generation())
		return;
	(void) objects();
	keyrow_check_columns(RelationGetDescr(heap));
	indexes = RelationGetIndexList(heap);
	known[leaf].has_other_indexes = list_length(indexes) > 1;
	list_free(indexes);
	known[leaf].generation = objects_generation();
}

bool
leaf_has_other_indexes(int leaf)
{
	return known[leaf].has_other_indexes;
}

/* Lock a leaf or its index on behalf of the (sub)transaction; false if not free. */
static bool
lock_for_transaction(Oid relid, LOCKMODE lock, bool wait)
{
	ResourceOwner caller = CurrentResourceOwner;
	bool		locked = true;

	CurrentResourceOwner = CurTransactionResourceOwner;
	if (wait)
		LockRelationOid(relid, lock);
	else
		locked = ConditionalLockRelationOid(relid, lock);
	CurrentResourceOwner = caller;
	return locked;
}

static void
unlock_for_transaction(Oid relid, LOCKMODE lock)
{
	ResourceOwner caller = CurrentResourceOwner;

	CurrentResourceOwner = CurTransactionResourceOwner;
	UnlockRelationOid(relid, lock);
	CurrentResourceOwner = caller;
}

/* Have a leaf open; false if its lock is not free and not to be waited for. */
static bool
lock_and_open(Leaves *leaves, int leaf, LOCKMODE lock, bool wait)
{
	Oid			relid = objects()->leaf[leaf];

	if (!leaves->kept[leaf] && !lock_for_transaction(relid, lock, wait))
		return false;
	leaves->heap[leaf] = table_open(relid, NoLock);
	leaves->lock[leaf] = lock;
	check_leaf(leaves->heap[leaf], leaf);
	return true;
}

void
leaf_open(Leaves *leaves, int leaf)
{
	if (leaves->heap[leaf] == NULL)
		(void) lock_and_open(leaves, leaf, RowExclusiveLock, true);
}

bool
leaf_open_if_free(Leaves *leaves, int leaf)
{
	return leaves->heap[leaf] != NULL ||
		lock_and_open(leaves, leaf, RowExclusiveLock, false);
}

bool
leaf_open_past(Leaves *leaves, int leaf)
{
	if (leaves->heap[leaf] != NULL ||
		lock_and_open(leaves, leaf, AccessShareLock, false))
		return true;
	if (RecoveryInProgress() || wheel_is_turning(leaf))
		return false;
	return lock_and_open(leaves, leaf, AccessShareLock, true);
}

void
leaf_write(Leaves *leaves, int leaf)
{
	leaf_open(leaves, leaf);
	if (leaves->lock[leaf] != RowExclusiveLock)
		(void) lock_for_transaction(RelationGetRelid(leaves->heap[leaf]),
									RowExclusiveLock, true);
	leaves->kept[leaf] = true;
}

void
leaf_open_index(Leaves *leaves, int leaf)
{
	if (leaves->index[leaf] == NULL)
	{
		Oid			relid = objects()->leaf_index[leaf];

		(void) lock_for_transaction(relid, leaves->lock[leaf], true);
		leaves->index[leaf] = index_open(relid, NoLock);
		keyrow_check_index(leaves->index[leaf]);
	}
}

TupleTableSlot *
leaf_read_tts(Leaves *leaves, int leaf)
{
	if (leaves->read_tts == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(leaves->context);

		leaves->read_tts = table_slot_create(leaves->heap[leaf], NULL);
		MemoryContextSwitchTo(caller);
	}
	return leaves->read_tts;
}

TupleTableSlot *
leaf_write_tts(Leaves *leaves, int leaf)
{
	if (leaves->write_tts == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(leaves->context);

		leaves->write_tts = MakeSingleTupleTableSlot(RelationGetDescr(leaves->heap[leaf]),
													 &TTSOpsHeapTuple);
		MemoryContextSwitchTo(caller);
	}
	return leaves->write_tts;
}

void
leaf_close(Leaves *leaves, int leaf)
{
	Oid			relid;

	if (leaves->index[leaf] != NULL)
	{
		relid = RelationGetRelid(leaves->index[leaf]);
		index_close(leaves->index[leaf], NoLock);
		if (!leaves->kept[leaf])
			unlock_for_transaction(relid, leaves->lock[leaf]);
	}
	relid = RelationGetRelid(leaves->heap[leaf]);
	table_close(leaves->heap[leaf], NoLock);
	if (!leaves->kept[leaf])
		unlock_for_transaction(relid, leaves->lock[leaf]);
	leaves->index[leaf] = NULL;
	leaves->heap[leaf] = NULL;
}

void
leaves_close(Leaves *leaves)
{
	MemoryContext context;

	for (int leaf = 0; leaf < LEAVES; leaf++)
	{
		if (leaves->heap[leaf] != NULL)
			leaf_close(leaves, leaf);
	}
	if (leaves->read_tts != NULL)
		ExecDropSingleTupleTableSlot(leaves->read_tts);
	if (leaves->write_tts != NULL)
		ExecDropSingleTupleTableSlot(leaves->write_tts);
	context = leaves->context;
	leaves_init(leaves);
	leaves->context = context;
}
