/*-------------------------------------------------------------------------
 *
 * index_entry.c
 *	  Entering a row into the indexes of its leaf.
 *
 * A leaf may have other indexes: those of an administrator, and, while REINDEX
 * CONCURRENTLY runs, the one that will replace the hash index.  They are
 * written as the executor would write them.  A row that is missing in the
 * replacement would not be found afterwards, and its key would be claimed
 * again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/index.h"
#include "compat.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "objects.h"
#include "store/local/index_entry.h"
#include "utils/rel.h"
#include "utils/uuid.h"

/* The description of the indexes serves for all leaves: they are alike. */
bool
enter_hash(Leaves *leaves, int leaf, const IdempotencyKey *key, ItemPointer tid)
{
	static IndexInfo *info = NULL;
	Datum		value = UUIDPGetDatum(&key->hash);
	bool		isnull = false;

	leaf_open_index(leaves, leaf);
	if (info == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		info = BuildIndexInfo(leaves->index[leaf]);
		MemoryContextSwitchTo(caller);
	}
	return index_insert(leaves->index[leaf], &value, &isnull, tid,
						leaves->heap[leaf], UNIQUE_CHECK_PARTIAL, false, info);
}

/*
 * Enter the row into the other indexes of its leaf, if there are any.  Their
 * expressions may call any function, which runs with the privileges of the
 * table's owner, who made the index, and not with the caller's.
 */
void
enter_other_indexes(Leaves *leaves, int leaf, TupleTableSlot *tts,
					ItemPointer tid, bool only_summaries)
{
	Relation	heap = leaves->heap[leaf];
	List	   *indexes;
	EState	   *estate;
	ExprContext *context;
	ListCell   *cell;
	Oid			caller;
	int			security;

	if (!leaf_has_other_indexes(leaf))
		return;
	GetUserIdAndSecContext(&caller, &security);
	SetUserIdAndSecContext(objects()->owner, security | SECURITY_RESTRICTED_OPERATION);
	estate = CreateExecutorState();
	context = GetPerTupleExprContext(estate);
	context->ecxt_scantuple = tts;
	indexes = RelationGetIndexList(heap);
	foreach(cell, indexes)
	{
		Relation	index;
		IndexInfo  *info;
		Datum		values[INDEX_MAX_KEYS];
		bool		isnull[INDEX_MAX_KEYS];

		if (lfirst_oid(cell) == RelationGetRelid(leaves->index[leaf]))
			continue;
		index = index_open(lfirst_oid(cell), RowExclusiveLock);
		info = BuildIndexInfo(index);
		if (info->ii_ReadyForInserts &&
			(!only_summaries || INDEX_SUMMARIZES(info)) &&
			ExecQual(ExecPrepareQual(info->ii_Predicate, estate), context))
		{
			FormIndexDatum(info, tts, estate, values, isnull);
			(void) index_insert(index, values, isnull, tid, heap,
								info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
								false, info);
			finish_index_insert(index, info);
		}
		index_close(index, RowExclusiveLock);
	}
	FreeExecutorState(estate);
	list_free(indexes);
	SetUserIdAndSecContext(caller, security);
}
