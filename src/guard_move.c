/*-------------------------------------------------------------------------
 *
 * guard_move.c
 *	  Rows that move to another partition.
 *
 * An UPDATE that moves a row to another partition deletes it in one and
 * inserts it in the other, and the BEFORE INSERT trigger fires there.  The key
 * is stored, so the row looks like a duplicate, but to skip it would lose it.
 * It is known by:
 *
 *		- a BEFORE DELETE trigger of guard(), which guard_table() makes on
 *		  partitioned tables.  The executor fires it for the row that moves,
 *		  deletes that row, and inserts it, with no other row in between.  So
 *		  what is remembered is one key for each statement that deletes, and
 *		  it is forgotten with the statement: a duplicate of a row that an
 *		  earlier statement deleted is a duplicate;
 *		- without that trigger, the deleted version: it bears the mark of a row
 *		  that moved and was deleted by the running command.  Finding it means
 *		  reading the partitions that the transaction writes to, for each
 *		  duplicate.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "compat.h"
#include "guard_move.h"
#include "miscadmin.h"
#include "rowjson.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* One for each running statement that deletes from a guarded partition. */
static dlist_head deleted_rows = DLIST_STATIC_INIT(deleted_rows);

static void
end_statement(void *row)
{
	dlist_delete(&((DeletedRow *) row)->node);
}

void
watch_deletions(DeletedRow *row, MemoryContext context)
{
	MemoryContextCallback *callback;

	callback = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));
	callback->func = end_statement;
	callback->arg = row;
	dlist_push_head(&deleted_rows, &row->node);
	MemoryContextRegisterResetCallback(context, callback);
}

bool
was_just_deleted(const IdempotencyKey *key)
{
	dlist_iter	iter;

	dlist_foreach(iter, &deleted_rows)
	{
		DeletedRow *row = dlist_container(DeletedRow, node, iter.cur);

		if (row->has_key &&
			memcmp(&row->hash, &key->hash, sizeof(pg_uuid_t)) == 0)
		{
			row->has_key = false;
			return true;
		}
	}
	return false;
}

/* Whether the running command has moved a row with this key out of the table. */
static bool
holds_moved_row(Relation relation, const char *key_column, const text *name)
{
	TupleDesc	desc = RelationGetDescr(relation);
	ColumnText *column = column_text_for(desc, get_attnum(RelationGetRelid(relation), key_column),
										 CurrentMemoryContext);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "idempotency row that moves",
												  ALLOCSET_DEFAULT_SIZES);
	CommandId	command = GetActiveSnapshot()->curcid;
	TableScanDesc scan = begin_table_scan(relation, SnapshotAny);
	HeapTuple	tuple;
	bool		found = false;

	while (!found && (tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		HeapTupleHeader header = tuple->t_data;

		CHECK_FOR_INTERRUPTS();
		if (HeapTupleHeaderIndicatesMovedPartitions(header) &&
			TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(header)) &&
			HeapTupleHeaderGetCmax(header) >= command)
		{
			MemoryContext caller = MemoryContextSwitchTo(context);
			text	   *moved = column_text(column, tuple, desc);

			found = moved != NULL && same_text(moved, name);
			MemoryContextSwitchTo(caller);
			MemoryContextReset(context);
		}
	}
	table_endscan(scan);
	MemoryContextDelete(context);
	return found;
}

/* Whether two guard triggers mean the same key: equal column and scope. */
static bool
same_key_arguments(const Trigger *a, const Trigger *b)
{
	if (a->tgnargs < 1 || b->tgnargs < 1 ||
		strcmp(a->tgargs[0], b->tgargs[0]) != 0)
		return false;
	if (a->tgnargs < 2 || b->tgnargs < 2)
		return a->tgnargs == b->tgnargs;
	return strcmp(a->tgargs[1], b->tgargs[1]) == 0;
}

/* Whether the table has the BEFORE DELETE trigger that belongs to this one. */
static bool
deletions_are_watched(const TriggerData *trigger)
{
	const TriggerDesc *triggers = trigger->tg_relation->trigdesc;

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		const Trigger *other = &triggers->triggers[i];

		if (other->tgfoid == trigger->tg_trigger->tgfoid &&
			TRIGGER_TYPE_MATCHES(other->tgtype, TRIGGER_TYPE_ROW,
								 TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_DELETE) &&
			other->tgenabled == trigger->tg_trigger->tgenabled &&
			same_key_arguments(other, trigger->tg_trigger))
			return true;
	}
	return false;
}

bool
has_left_other_partition(const TriggerData *trigger, Oid root,
						 const IdempotencyKey *key)
{
	List	   *partitions;
	bool		found = false;
	ListCell   *lc;

	if (deletions_are_watched(trigger))
		return false;

	/* A partition that the row has left is locked as one written to. */
	partitions = find_all_inheritors(root, NoLock, NULL);
	foreach(lc, partitions)
	{
		Oid			relid = lfirst_oid(lc);
		LOCKTAG		tag;
		Relation	relation;

		SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
		if (found || relid == RelationGetRelid(trigger->tg_relation) ||
			!LOCK_IS_HELD(&tag, RowExclusiveLock))
			continue;
		relation = table_open(relid, NoLock);
		if (relation->rd_rel->relam == HEAP_TABLE_AM_OID)
			found = holds_moved_row(relation, trigger->tg_trigger->tgargs[0], key->name);
		table_close(relation, NoLock);
	}
	return found;
}
