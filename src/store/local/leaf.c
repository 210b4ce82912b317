/*-------------------------------------------------------------------------
 *
 * leaf.c
 *	  The leaves of keys, as one call has them open.
 *
 * A leaf is opened when a call first looks into it, and stays open to the end
 * of the call, which may probe and write it several times; a batch is one
 * call.
 *
 * Locks: RowExclusiveLock on each leaf and index that is open; released with it
 * if nothing was written, kept to the end of the transaction if something was,
 * so that no leaf is emptied under an uncommitted row.  They belong to the
 * (sub)transaction that writes, as its rows do, and not to the portal that runs
 * the caller: a cursor that fails in a later subtransaction loses what belongs to
 * its portal, while the rows that earlier fetches wrote stay.
 *
 * A leaf whose slot is past is opened for reading, under AccessShareLock: there
 * may be a row of a transaction that runs on.  That lock is refused while
 * somebody has the leaf locked altogether, and while somebody queues for that.  The first
 * may be a turn; nothing in that leaf counts then, and a claim does not wait for
 * it (W2).  Everything else is waited for, as for a leaf that is not past:
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
storeleaf_refresh(Store *store)
{
	wheel_read(&store->wheel);
}

/*
 * See that an open leaf is as it was made, once for what is known of the tables:
 * with the leaf's lock all messages about it are known.
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

/* Have a leaf open under a lock that is held already. */
static void
open_locked(Store *store, int leaf, Oid relid, LOCKMODE lock)
{
	store->heap[leaf] = table_open(relid, NoLock);
	store->lock[leaf] = lock;
	check_leaf(store->heap[leaf], leaf);
}

void
storeleaf_open(Store *store, int leaf)
{
	if (store->heap[leaf] == NULL)
	{
		Oid			relid = objects()->leaf[leaf];
		ResourceOwner caller = CurrentResourceOwner;

		CurrentResourceOwner = CurTransactionResourceOwner;
		LockRelationOid(relid, RowExclusiveLock);
		open_locked(store, leaf, relid, RowExclusiveLock);
		CurrentResourceOwner = caller;
	}
}

bool
storeleaf_open_if_free(Store *store, int leaf)
{
	if (store->heap[leaf] == NULL)
	{
		Oid			relid = objects()->leaf[leaf];
		ResourceOwner caller = CurrentResourceOwner;

		CurrentResourceOwner = CurTransactionResourceOwner;
		if (ConditionalLockRelationOid(relid, RowExclusiveLock))
			open_locked(store, leaf, relid, RowExclusiveLock);
		CurrentResourceOwner = caller;
	}
	return store->heap[leaf] != NULL;
}

bool
storeleaf_open_past(Store *store, int leaf)
{
	if (store->heap[leaf] == NULL)
	{
		Oid			relid = objects()->leaf[leaf];
		ResourceOwner caller = CurrentResourceOwner;

		CurrentResourceOwner = CurTransactionResourceOwner;
		if (ConditionalLockRelationOid(relid, AccessShareLock))
			open_locked(store, leaf, relid, AccessShareLock);
		else if (!RecoveryInProgress() && !wheel_is_turning(leaf))
		{
			LockRelationOid(relid, AccessShareLock);
			open_locked(store, leaf, relid, AccessShareLock);
		}
		CurrentResourceOwner = caller;
	}
	return store->heap[leaf] != NULL;
}

void
storeleaf_write(Store *store, int leaf)
{
	storeleaf_open(store, leaf);
	if (store->lock[leaf] != RowExclusiveLock)
	{
		ResourceOwner caller = CurrentResourceOwner;

		CurrentResourceOwner = CurTransactionResourceOwner;
		LockRelationOid(RelationGetRelid(store->heap[leaf]), RowExclusiveLock);
		CurrentResourceOwner = caller;
	}
	store->written[leaf] = true;
}

void
storeleaf_open_index(Store *store, int leaf)
{
	if (store->index[leaf] == NULL)
	{
		ResourceOwner caller = CurrentResourceOwner;

		CurrentResourceOwner = CurTransactionResourceOwner;
		store->index[leaf] = index_open(objects()->leaf_index[leaf], store->lock[leaf]);
		keyrow_check_index(store->index[leaf]);
		CurrentResourceOwner = caller;
	}
}

TupleTableSlot *
storeleaf_read_slot(Store *store, int leaf)
{
	if (store->read_slot == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(store->context);

		store->read_slot = table_slot_create(store->heap[leaf], NULL);
		MemoryContextSwitchTo(caller);
	}
	return store->read_slot;
}

TupleTableSlot *
storeleaf_write_slot(Store *store, int leaf)
{
	if (store->write_slot == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(store->context);

		store->write_slot = MakeSingleTupleTableSlot(RelationGetDescr(store->heap[leaf]),
													 &TTSOpsVirtual);
		MemoryContextSwitchTo(caller);
	}
	return store->write_slot;
}

void
storeleaf_close(Store *store, int leaf)
{
	LOCKMODE	lock = store->written[leaf] ? NoLock : store->lock[leaf];
	ResourceOwner caller = CurrentResourceOwner;

	CurrentResourceOwner = CurTransactionResourceOwner;
	if (store->index[leaf] != NULL)
		index_close(store->index[leaf], lock);
	if (store->heap[leaf] != NULL)
		table_close(store->heap[leaf], lock);
	CurrentResourceOwner = caller;
	if (store->index_info[leaf] != NULL)
		pfree(store->index_info[leaf]);
	store->index[leaf] = NULL;
	store->heap[leaf] = NULL;
	store->index_info[leaf] = NULL;
}

void
storeleaf_close_all(Store *store)
{
	MemoryContext context;

	for (int leaf = 0; leaf < LEAVES; leaf++)
		storeleaf_close(store, leaf);
	if (store->read_slot != NULL)
		ExecDropSingleTupleTableSlot(store->read_slot);
	if (store->write_slot != NULL)
		ExecDropSingleTupleTableSlot(store->write_slot);
	context = store->context;
	store_open_local(store);
	store->context = context;
}
