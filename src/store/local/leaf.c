/*-------------------------------------------------------------------------
 *
 * leaf.c
 *	  The leaves of keys, as one call has them open.
 *
 * A leaf is opened when a call first looks into it, and stays open to the end
 * of the call, which may probe and write it several times; a batch is one
 * call.
 *
 * Locks: RowExclusiveLock on each leaf and index that is open; let go with it
 * where nothing was written, kept to the end of the transaction where something
 * was, so that no leaf is emptied under an uncommitted row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "store/keyrow.h"
#include "nodes/execnodes.h"
#include "storage/lmgr.h"
#include "store/local/leaf.h"
#include "utils/rel.h"

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

void
storeleaf_open(Store *store, int leaf)
{
	if (store->heap[leaf] == NULL)
	{
		store->heap[leaf] = table_open(objects()->leaf[leaf], RowExclusiveLock);
		check_leaf(store->heap[leaf], leaf);
	}
}

bool
storeleaf_open_if_free(Store *store, int leaf)
{
	Oid			relid = objects()->leaf[leaf];

	if (store->heap[leaf] != NULL)
		return true;
	if (!ConditionalLockRelationOid(relid, RowExclusiveLock))
		return false;
	store->heap[leaf] = table_open(relid, NoLock);
	check_leaf(store->heap[leaf], leaf);
	return true;
}

void
storeleaf_open_index(Store *store, int leaf)
{
	if (store->index[leaf] == NULL)
	{
		store->index[leaf] = index_open(objects()->leaf_index[leaf], RowExclusiveLock);
		keyrow_check_index(store->index[leaf]);
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
	LOCKMODE	lock = store->written[leaf] ? NoLock : RowExclusiveLock;

	if (store->index[leaf] != NULL)
		index_close(store->index[leaf], lock);
	if (store->heap[leaf] != NULL)
		table_close(store->heap[leaf], lock);
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
