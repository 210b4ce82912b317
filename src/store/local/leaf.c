/*-------------------------------------------------------------------------
 *
 * leaf.c
 *	  The leaves of keys that one call has open.
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
#include "utils/rel.h"
#include "utils/resowner.h"

void
store_open_local(Store *store)
{
	memset(store, 0, sizeof(*store));
	store->methods = &local_store;
	store->context = CurrentMemoryContext;
}

void
leaf_refresh(Store *store)
{
	wheel_read(&store->wheel);
}

/*
 * Check the columns of an open leaf, once in each generation of the known
 * tables: with the leaf's lock all messages about it have been accepted.
 */
static void
check_leaf(Relation heap, int leaf)
{
	static uint64 checked[LEAVES];

	if (checked[leaf] == objects_generation())
		return;
	(void) objects();
	keyrow_check_columns(RelationGetDescr(heap));
	checked[leaf] = objects_generation();
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
lock_and_open(Store *store, int leaf, LOCKMODE lock, bool wait)
{
	Oid			relid = objects()->leaf[leaf];

	if (!lock_for_transaction(relid, lock, wait))
		return false;
	store->heap[leaf] = table_open(relid, NoLock);
	store->lock[leaf] = lock;
	check_leaf(store->heap[leaf], leaf);
	return true;
}

void
leaf_open(Store *store, int leaf)
{
	if (store->heap[leaf] == NULL)
		(void) lock_and_open(store, leaf, RowExclusiveLock, true);
}

bool
leaf_open_if_free(Store *store, int leaf)
{
	return store->heap[leaf] != NULL ||
		lock_and_open(store, leaf, RowExclusiveLock, false);
}

bool
leaf_open_past(Store *store, int leaf)
{
	if (store->heap[leaf] != NULL ||
		lock_and_open(store, leaf, AccessShareLock, false))
		return true;
	if (RecoveryInProgress() || wheel_is_turning(leaf))
		return false;
	return lock_and_open(store, leaf, AccessShareLock, true);
}

void
leaf_write(Store *store, int leaf)
{
	leaf_open(store, leaf);
	if (store->lock[leaf] != RowExclusiveLock)
		(void) lock_for_transaction(RelationGetRelid(store->heap[leaf]),
									RowExclusiveLock, true);
	store->written[leaf] = true;
}

void
leaf_open_index(Store *store, int leaf)
{
	if (store->index[leaf] == NULL)
	{
		Oid			relid = objects()->leaf_index[leaf];

		(void) lock_for_transaction(relid, store->lock[leaf], true);
		store->index[leaf] = index_open(relid, NoLock);
		keyrow_check_index(store->index[leaf]);
	}
}

TupleTableSlot *
leaf_read_tts(Store *store, int leaf)
{
	if (store->read_tts == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(store->context);

		store->read_tts = table_slot_create(store->heap[leaf], NULL);
		MemoryContextSwitchTo(caller);
	}
	return store->read_tts;
}

TupleTableSlot *
leaf_write_tts(Store *store, int leaf)
{
	if (store->write_tts == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(store->context);

		store->write_tts = MakeSingleTupleTableSlot(RelationGetDescr(store->heap[leaf]),
													&TTSOpsVirtual);
		MemoryContextSwitchTo(caller);
	}
	return store->write_tts;
}

void
leaf_close(Store *store, int leaf)
{
	if (store->index[leaf] != NULL)
	{
		Oid			relid = RelationGetRelid(store->index[leaf]);

		index_close(store->index[leaf], NoLock);
		if (!store->written[leaf])
			unlock_for_transaction(relid, store->lock[leaf]);
	}
	if (store->heap[leaf] != NULL)
	{
		Oid			relid = RelationGetRelid(store->heap[leaf]);

		table_close(store->heap[leaf], NoLock);
		if (!store->written[leaf])
			unlock_for_transaction(relid, store->lock[leaf]);
	}
	if (store->index_info[leaf] != NULL)
		pfree(store->index_info[leaf]);
	store->index[leaf] = NULL;
	store->heap[leaf] = NULL;
	store->index_info[leaf] = NULL;
}

void
leaf_close_all(Store *store)
{
	MemoryContext context;

	for (int leaf = 0; leaf < LEAVES; leaf++)
		leaf_close(store, leaf);
	if (store->read_tts != NULL)
		ExecDropSingleTupleTableSlot(store->read_tts);
	if (store->write_tts != NULL)
		ExecDropSingleTupleTableSlot(store->write_tts);
	context = store->context;
	store_open_local(store);
	store->context = context;
}
