/*-------------------------------------------------------------------------
 *
 * store.c
 *	  The stored keys, in the tables of the expiry wheel.
 *
 * The only file that knows the columns of idempotency.keys.  Rows are read
 * and written through the table and index access methods, below the executor:
 * no plan, no trigger, no privilege check; the functions above are the gate.
 *
 * Reading.  A probe scans the hash index of each live leaf with a dirty
 * snapshot.  That shows what is committed at this instant, at every isolation
 * level, takes no predicate locks (so that two keys never conflict under
 * SERIALIZABLE), and shows the rows of transactions in progress with their
 * xids.  Every write happens under the key's lock, so under that lock the
 * scan meets no writer; it may meet a writer's commit or abort:
 *
 *		- T moved the row from leaf A to B.  A is read while T runs: the old
 *		  version, written over by T.  T commits; B shows the new version.
 *		  Both are found; the settled one is the later truth.
 *		- B is read first, then T aborts: A shows a settled row, and the
 *		  writer remembered from B has ended.  Waiting for it returns at once.
 *
 * Writing.  The unique index of a leaf is the judge: an insertion that meets
 * another live entry of the same hash, committed or not, is taken back, and
 * the caller probes again.  Under the key's lock that happens only where a row
 * was put there by hand.  Across leaves no index can judge; the lock does.
 * Expired rows of one key may lie in several leaves: a restore from pg_dump
 * hands a slot that is past a later until, with its rows, which nobody looked
 * at when the key was claimed again.  One that is in the way is deleted (W4).
 *
 * A leaf may have other indexes: an administrator's, and, while REINDEX
 * CONCURRENTLY runs, the one that is to take the place of the hash index.
 * They are written as the executor would write them.  A row that one of the
 * latter kind missed would not be found after the exchange, and its key would
 * be claimed again.
 *
 * W1: no row expires after the until of its leaf.  store_write() is the one
 * place that puts rows into leaves, and it chooses the leaf by the expiry;
 * a row whose expiry outgrows its leaf is inserted into another one and
 * deleted from the first, under the key's lock, in the same transaction.
 *
 * Locks: RowExclusiveLock on each leaf and index that a call looks into; let
 * go when the call ends where nothing was written, kept to the end of the
 * transaction where something was, so that no leaf is emptied under an
 * uncommitted row.
 *
 * Sweeping.  keys_long has no index on expires_at: claims would pay for it at
 * every insertion, and completions by no longer being heap-only updates.  So
 * the expired rows are looked for page by page, a bounded number of pages a
 * round.  No round remembers where the last one ended, as it may have been
 * another process; a round begins at a page taken at random.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "common/pg_prng.h"
#include "compat.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "store.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

enum
{
	KEYS_SCOPE,
	KEYS_KEY,
	KEYS_FINGERPRINT,
	KEYS_STATUS,
	KEYS_STATUS_CODE,
	KEYS_RESOURCE_ID,
	KEYS_RESPONSE,
	KEYS_ATTEMPT,
	KEYS_RECOVERY_POINT,
	KEYS_STATE,
	KEYS_LEASE_UNTIL,
	KEYS_CLAIMED_AT,
	KEYS_COMPLETED_AT,
	KEYS_EXPIRES_AT,
	KEYS_TTL,
	KEYS_CLAIM_XID,
	KEYS_SLOT,
	KEYS_HASH,
	KEYS_COLUMNS
};

/* Value of the column slot for keys_long. */
#define SLOT_LONG	(-1)

static const char *const status_names[] = {
	[KEY_IN_PROGRESS] = "in_progress",
	[KEY_COMPLETED] = "completed",
	[KEY_FAILED] = "failed",
	[KEY_RELEASED] = "released",
	[KEY_ISSUED] = "issued",
	[KEY_ERASED] = "erased",
};

static KeyStatus
status_from_text(const text *name)
{
	for (int status = 0; status < lengthof(status_names); status++)
	{
		if (strlen(status_names[status]) == VARSIZE_ANY_EXHDR(name) &&
			memcmp(status_names[status], VARDATA_ANY(name),
				   VARSIZE_ANY_EXHDR(name)) == 0)
			return (KeyStatus) status;
	}
	elog(ERROR, "unknown status of idempotency key");
}

void
store_open(Store *store)
{
	memset(store, 0, sizeof(*store));
	store->context = CurrentMemoryContext;
}

void
store_refresh(Store *store)
{
	wheel_read(&store->wheel);
}

/* Rows are read into arrays of this size, and formed from them. */
static void
check_columns(TupleDesc desc)
{
	if (desc->natts != KEYS_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"idempotency.keys\" is not as this version of the extension made it"),
				 errdetail("It has %d columns in place of %d.", desc->natts, KEYS_COLUMNS),
				 errhint("Run ALTER EXTENSION idempotency UPDATE where a new version was installed. Keep columns of your own in another table.")));
}

static void
open_heap(Store *store, int leaf)
{
	if (store->heap[leaf] == NULL)
	{
		store->heap[leaf] = table_open(objects()->leaf[leaf], RowExclusiveLock);
		check_columns(RelationGetDescr(store->heap[leaf]));
	}
}

/*
 * The same without waiting.  False where somebody has locked the leaf against
 * writing; then no transaction in progress has written to it.
 */
static bool
open_heap_if_free(Store *store, int leaf)
{
	Oid			relid = objects()->leaf[leaf];

	if (store->heap[leaf] != NULL)
		return true;
	if (!ConditionalLockRelationOid(relid, RowExclusiveLock))
		return false;
	store->heap[leaf] = table_open(relid, NoLock);
	return true;
}

static void
open_index(Store *store, int leaf)
{
	if (store->index[leaf] == NULL)
		store->index[leaf] = index_open(objects()->leaf_index[leaf], RowExclusiveLock);
}

/* All leaves have the same columns, so one slot of each kind will do. */
static void
make_slots(Store *store, int leaf)
{
	MemoryContext caller;

	if (store->read_slot != NULL)
		return;
	caller = MemoryContextSwitchTo(store->context);
	store->read_slot = table_slot_create(store->heap[leaf], NULL);
	store->write_slot = MakeSingleTupleTableSlot(RelationGetDescr(store->heap[leaf]),
												 &TTSOpsVirtual);
	MemoryContextSwitchTo(caller);
}

void
store_close(Store *store)
{
	MemoryContext context;

	for (int leaf = 0; leaf < LEAVES; leaf++)
	{
		LOCKMODE	lock = store->written[leaf] ? NoLock : RowExclusiveLock;

		if (store->index[leaf] != NULL)
			index_close(store->index[leaf], lock);
		if (store->heap[leaf] != NULL)
			table_close(store->heap[leaf], lock);
		if (store->index_info[leaf] != NULL)
			pfree(store->index_info[leaf]);
	}
	if (store->read_slot != NULL)
	{
		ExecDropSingleTupleTableSlot(store->read_slot);
		ExecDropSingleTupleTableSlot(store->write_slot);
	}
	context = store->context;
	store_open(store);
	store->context = context;
}

/* ----------------------------------------------------------------
 *		Rows
 * ----------------------------------------------------------------
 */

static inline void *
pointer_or_null(const Datum *values, const bool *isnull, int column)
{
	return isnull[column] ? NULL : DatumGetPointer(values[column]);
}

static inline TimestampTz
time_or_none(const Datum *values, const bool *isnull, int column)
{
	return isnull[column] ? NO_TIME : DatumGetTimestampTz(values[column]);
}

/* Read a copy of the tuple in the slot; the row points into the copy. */
static void
row_from_slot(KeyRow *row, TupleTableSlot *slot)
{
	Datum		values[KEYS_COLUMNS];
	bool		isnull[KEYS_COLUMNS];
	HeapTuple	tuple = ExecCopySlotHeapTuple(slot);

	heap_deform_tuple(tuple, slot->tts_tupleDescriptor, values, isnull);
	row->status = status_from_text(DatumGetTextPP(values[KEYS_STATUS]));
	row->attempt = DatumGetInt32(values[KEYS_ATTEMPT]);
	row->status_code = isnull[KEYS_STATUS_CODE] ? NO_STATUS_CODE :
		DatumGetInt32(values[KEYS_STATUS_CODE]);
	row->fingerprint = isnull[KEYS_FINGERPRINT] ? NULL :
		DatumGetByteaPP(values[KEYS_FINGERPRINT]);
	row->resource_id = pointer_or_null(values, isnull, KEYS_RESOURCE_ID);
	row->response = pointer_or_null(values, isnull, KEYS_RESPONSE);
	row->recovery_point = pointer_or_null(values, isnull, KEYS_RECOVERY_POINT);
	row->state = pointer_or_null(values, isnull, KEYS_STATE);
	row->ttl = pointer_or_null(values, isnull, KEYS_TTL);
	row->lease_until = time_or_none(values, isnull, KEYS_LEASE_UNTIL);
	row->claimed_at = time_or_none(values, isnull, KEYS_CLAIMED_AT);
	row->completed_at = time_or_none(values, isnull, KEYS_COMPLETED_AT);
	row->expires_at = DatumGetTimestampTz(values[KEYS_EXPIRES_AT]);
	row->claim_xid = isnull[KEYS_CLAIM_XID] ? InvalidTransactionId :
		DatumGetTransactionId(values[KEYS_CLAIM_XID]);
	row->stored = true;
	row->own = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	row->tid = slot->tts_tid;
}

static inline void
put_pointer(Datum *values, bool *isnull, int column, const void *pointer)
{
	values[column] = PointerGetDatum(pointer);
	isnull[column] = pointer == NULL;
}

static inline void
put_time(Datum *values, bool *isnull, int column, TimestampTz time)
{
	values[column] = TimestampTzGetDatum(time);
	isnull[column] = time == NO_TIME;
}

static void
row_to_values(const IdempotencyKey *key, const KeyRow *row,
			  Datum *values, bool *isnull)
{
	memset(isnull, false, KEYS_COLUMNS * sizeof(bool));
	values[KEYS_SCOPE] = PointerGetDatum(key->scope);
	values[KEYS_KEY] = PointerGetDatum(key->name);
	put_pointer(values, isnull, KEYS_FINGERPRINT, row->fingerprint);
	values[KEYS_STATUS] = CStringGetTextDatum(status_names[row->status]);
	values[KEYS_STATUS_CODE] = Int32GetDatum(row->status_code);
	isnull[KEYS_STATUS_CODE] = row->status_code == NO_STATUS_CODE;
	put_pointer(values, isnull, KEYS_RESOURCE_ID, row->resource_id);
	put_pointer(values, isnull, KEYS_RESPONSE, row->response);
	values[KEYS_ATTEMPT] = Int32GetDatum(row->attempt);
	put_pointer(values, isnull, KEYS_RECOVERY_POINT, row->recovery_point);
	put_pointer(values, isnull, KEYS_STATE, row->state);
	put_time(values, isnull, KEYS_LEASE_UNTIL, row->lease_until);
	put_time(values, isnull, KEYS_CLAIMED_AT, row->claimed_at);
	put_time(values, isnull, KEYS_COMPLETED_AT, row->completed_at);
	values[KEYS_EXPIRES_AT] = TimestampTzGetDatum(row->expires_at);
	put_pointer(values, isnull, KEYS_TTL, row->ttl);
	values[KEYS_CLAIM_XID] = TransactionIdGetDatum(row->claim_xid);
	isnull[KEYS_CLAIM_XID] = !TransactionIdIsValid(row->claim_xid);
	values[KEYS_SLOT] = Int16GetDatum(row->leaf == LEAF_LONG ? SLOT_LONG : row->leaf);
	values[KEYS_HASH] = UUIDPGetDatum(&key->hash);
}

static void *
detached(void *value)
{
	return value != NULL && VARATT_IS_EXTERNAL(value) ?
		detoast_external_attr(value) : value;
}

void
store_detach(KeyRow *row)
{
	row->resource_id = detached(row->resource_id);
	row->response = detached(row->response);
	row->recovery_point = detached(row->recovery_point);
	row->state = detached(row->state);
}

Datum
store_row_datum(const IdempotencyKey *key, const KeyRow *row)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(objects()->keys_type, -1);
	Datum		values[KEYS_COLUMNS];
	bool		isnull[KEYS_COLUMNS];
	Datum		result;

	row_to_values(key, row, values, isnull);
	result = HeapTupleGetDatum(heap_form_tuple(desc, values, isnull));
	ReleaseTupleDesc(desc);
	return result;
}

/* ----------------------------------------------------------------
 *		Probing
 * ----------------------------------------------------------------
 */

/*
 * A hash of 128 bits stands for its key everywhere but here.  Two keys that
 * share one can't both be stored; better no answer than a wrong one.
 */
static void
check_same_key(const IdempotencyKey *key, TupleTableSlot *slot)
{
	bool		isnull;
	text	   *scope = DatumGetTextPP(slot_getattr(slot, KEYS_SCOPE + 1, &isnull));
	text	   *name = DatumGetTextPP(slot_getattr(slot, KEYS_KEY + 1, &isnull));

	if (!same_text(scope, key->scope) || !same_text(name, key->name))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("two idempotency keys have the same hash"),
				 errdetail("The hash of key \"%s\" of scope \"%s\" is stored for another key.",
						   text_to_cstring(key->name), text_to_cstring(key->scope)),
				 errhint("Retry with another key.")));
}

/*
 * Whether a row just read says more than the one that the probe has: a live
 * one more than an expired one, one that nobody is replacing more than one
 * that somebody is, a later claim more than an earlier.
 */
static bool
says_more(const KeyRow *row, bool replaced,
		  const KeyRow *than, bool than_replaced, TimestampTz now)
{
	bool		live = row->expires_at > now;
	bool		than_live = than->expires_at > now;

	if (live != than_live)
		return live;
	if (replaced != than_replaced)
		return than_replaced;
	return row->claimed_at > than->claimed_at;
}

/*
 * Returns whether the probe is complete: a live row that nobody is replacing.
 *
 * A slot whose until is past holds expired rows, which are left for its turn.
 * It may also hold what a transaction has written that runs on, whose claim is
 * guarded although it has outlived its slot; and claims that were never ended,
 * whose owners are told apart by the attempt as long as their rows are there.
 * The sweeper is not waited for: it has the lock only where no such
 * transaction is, and in a moment no such row.
 */
static bool
probe_leaf(Store *store, int leaf, const IdempotencyKey *key,
		   TimestampTz now, Probe *probe, bool *replaced)
{
	bool		past = !wheel_leaf_is_live(&store->wheel, leaf, now);
	SnapshotData dirty;
	ScanKeyData condition;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	bool		complete = false;

	if (past && !open_heap_if_free(store, leaf))
		return false;
	open_heap(store, leaf);
	/* An empty slot of the wheel costs no more than this. */
	if (RelationGetNumberOfBlocks(store->heap[leaf]) == 0)
		return false;
	open_index(store, leaf);
	make_slots(store, leaf);
	slot = store->read_slot;

	InitDirtySnapshot(dirty);
	ScanKeyInit(&condition, 1, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(&key->hash));
	scan = begin_index_scan(store->heap[leaf], store->index[leaf], &dirty, 1);
	index_rescan(scan, &condition, 1, NULL, 0);
	while (!complete && index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		KeyRow		row;
		bool		row_replaced;

		CHECK_FOR_INTERRUPTS();
		check_same_key(key, slot);

		if (TransactionIdIsValid(dirty.xmin))
		{
			/* inserted by a transaction that has not ended */
			probe->writer = dirty.xmin;
			continue;
		}
		row_replaced = TransactionIdIsValid(dirty.xmax);
		if (row_replaced)
			probe->writer = dirty.xmax;

		row_from_slot(&row, slot);
		row.leaf = leaf;
		if (past && !row.own && row.status != KEY_IN_PROGRESS)
			continue;
		if (!probe->found ||
			says_more(&row, row_replaced, &probe->row, *replaced, now))
		{
			probe->found = true;
			probe->row = row;
			*replaced = row_replaced;
		}
		complete = !row_replaced && row.expires_at > now;
	}
	index_endscan(scan);
	ExecClearTuple(slot);
	return complete;
}

void
store_probe(Store *store, const IdempotencyKey *key,
			TimestampTz now, TimestampTz hint, Probe *probe)
{
	int			first = wheel_leaf_for(&store->wheel, hint);
	bool		replaced = false;

	probe->found = false;
	probe->writer = InvalidTransactionId;

	/* W3: every leaf, until a live row is found. */
	if (probe_leaf(store, first, key, now, probe, &replaced))
		return;
	for (int leaf = 0; leaf < LEAVES; leaf++)
	{
		if (leaf != first &&
			probe_leaf(store, leaf, key, now, probe, &replaced))
			return;
	}
}

/* ----------------------------------------------------------------
 *		Writing
 * ----------------------------------------------------------------
 */

static bool
insert_index_entry(Store *store, int leaf, const IdempotencyKey *key,
				   ItemPointer tid)
{
	Datum		value = UUIDPGetDatum(&key->hash);
	bool		isnull = false;

	open_index(store, leaf);
	if (store->index_info[leaf] == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(store->context);

		store->index_info[leaf] = BuildIndexInfo(store->index[leaf]);
		MemoryContextSwitchTo(caller);
	}
	return index_insert(store->index[leaf], &value, &isnull, tid,
						store->heap[leaf], UNIQUE_CHECK_PARTIAL, false,
						store->index_info[leaf]);
}

/* Enter the row into the other indexes of its leaf, where there are any. */
static void
enter_other_indexes(Store *store, int leaf, TupleTableSlot *slot,
					ItemPointer tid, bool only_summaries)
{
	Relation	heap = store->heap[leaf];
	List	   *indexes = RelationGetIndexList(heap);
	EState	   *estate;
	ExprContext *context;
	ListCell   *cell;

	if (list_length(indexes) == 1)
	{
		list_free(indexes);
		return;
	}
	estate = CreateExecutorState();
	context = GetPerTupleExprContext(estate);
	context->ecxt_scantuple = slot;
	foreach(cell, indexes)
	{
		Relation	index;
		IndexInfo  *info;
		Datum		values[INDEX_MAX_KEYS];
		bool		isnull[INDEX_MAX_KEYS];

		if (lfirst_oid(cell) == RelationGetRelid(store->index[leaf]))
			continue;
		index = index_open(lfirst_oid(cell), RowExclusiveLock);
		info = BuildIndexInfo(index);
		if (info->ii_ReadyForInserts &&
			(!only_summaries || INDEX_SUMMARIZES(info)) &&
			ExecQual(ExecPrepareQual(info->ii_Predicate, estate), context))
		{
			FormIndexDatum(info, slot, estate, values, isnull);
			(void) index_insert(index, values, isnull, tid, heap,
								info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
								false, info);
			finish_index_insert(index, info);
		}
		index_close(index, RowExclusiveLock);
	}
	FreeExecutorState(estate);
	list_free(indexes);
}

/* Insert into the row's leaf.  Returns false, with nothing left, on conflict. */
static bool
insert_row(Store *store, const IdempotencyKey *key, KeyRow *row,
		   TupleTableSlot *slot)
{
	int			leaf = row->leaf;

	table_tuple_insert(store->heap[leaf], slot, GetCurrentCommandId(true), 0, NULL);
	row->tid = slot->tts_tid;
	if (insert_index_entry(store, leaf, key, &row->tid))
	{
		enter_other_indexes(store, leaf, slot, &row->tid, false);
		return true;
	}

	/* Make the tuple one of an earlier command, then take it back. */
	CommandCounterIncrement();
	simple_table_tuple_delete(store->heap[leaf], &row->tid, InvalidSnapshot);
	return false;
}

static void
update_row(Store *store, const IdempotencyKey *key, KeyRow *row,
		   TupleTableSlot *slot)
{
	IndexesToUpdate indexes;

	simple_table_tuple_update(store->heap[row->leaf], &row->tid, slot,
							  InvalidSnapshot, &indexes);
	row->tid = slot->tts_tid;

	/*
	 * Only where the page had no room, or an administrator's index has a
	 * column that changes.  The entry of the version just replaced is no
	 * conflict.
	 */
	if (UPDATE_NEEDS_INDEX_ENTRY(indexes))
	{
		if (!insert_index_entry(store, row->leaf, key, &row->tid))
			elog(ERROR, "idempotency key is stored twice");
		enter_other_indexes(store, row->leaf, slot, &row->tid, false);
	}
	else if (UPDATE_NEEDS_SUMMARY(indexes))
	{
		open_index(store, row->leaf);
		enter_other_indexes(store, row->leaf, slot, &row->tid, true);
	}
}

/* As store_delete_expired(), in the given leaf. */
static bool
delete_expired(Store *store, int leaf, const IdempotencyKey *key, TimestampTz now)
{
	Probe		probe = {0};
	bool		replaced = false;

	(void) probe_leaf(store, leaf, key, now, &probe, &replaced);
	if (!probe.found || TransactionIdIsValid(probe.writer) ||
		probe.row.own || probe.row.expires_at > now)
		return false;
	store_delete(store, &probe.row);
	return true;
}

bool
store_write(Store *store, const IdempotencyKey *key, KeyRow *row)
{
	KeyRow		before = *row;
	bool		in_place = row->stored &&
		wheel_leaf_reaches(&store->wheel, row->leaf, row->expires_at);
	TupleTableSlot *slot;
	bool		written = true;

	if (!in_place)
		row->leaf = wheel_leaf_for(&store->wheel, row->expires_at);
	open_heap(store, row->leaf);
	make_slots(store, row->leaf);
	store->written[row->leaf] = true;

	slot = store->write_slot;
	row_to_values(key, row, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(store->heap[row->leaf]);

	if (in_place)
		update_row(store, key, row, slot);
	else
		written = insert_row(store, key, row, slot) ||
			(delete_expired(store, row->leaf, key, GetCurrentTimestamp()) &&
			 insert_row(store, key, row, slot));

	/*
	 * The moved row's values were copied by the insertion, out of line ones
	 * too, so that the old version may go.
	 */
	if (written && !in_place && before.stored)
	{
		store->written[before.leaf] = true;
		simple_table_tuple_delete(store->heap[before.leaf], &before.tid,
								  InvalidSnapshot);
	}
	ExecClearTuple(slot);

	/* The current command may go on to write the row once more. */
	CommandCounterIncrement();
	row->stored = written;
	row->own = true;
	return written;
}

void
store_delete(Store *store, KeyRow *row)
{
	open_heap(store, row->leaf);
	store->written[row->leaf] = true;
	simple_table_tuple_delete(store->heap[row->leaf],
							  &row->tid, InvalidSnapshot);
	CommandCounterIncrement();
}

/* ----------------------------------------------------------------
 *		Reading everything
 * ----------------------------------------------------------------
 */

static void
scan_leaf(StoreScan *scan)
{
	scan->heap = table_open(objects()->leaf[scan->leaf], AccessShareLock);
	check_columns(RelationGetDescr(scan->heap));
	scan->slot = table_slot_create(scan->heap, NULL);
	scan->scan = begin_table_scan(scan->heap, &scan->dirty);
}

static void
leave_leaf(StoreScan *scan)
{
	table_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	table_close(scan->heap, AccessShareLock);
}

void
store_scan_begin(StoreScan *scan, int first_leaf, int last_leaf)
{
	InitDirtySnapshot(scan->dirty);
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
	bool		isnull;

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
	row_from_slot(row, scan->slot);
	row->leaf = scan->leaf;
	key->scope = DatumGetTextPCopy(slot_getattr(scan->slot, KEYS_SCOPE + 1, &isnull));
	key->name = DatumGetTextPCopy(slot_getattr(scan->slot, KEYS_KEY + 1, &isnull));
	key->hash = *DatumGetUUIDP(slot_getattr(scan->slot, KEYS_HASH + 1, &isnull));
	*writer = TransactionIdIsValid(scan->dirty.xmin) ? scan->dirty.xmin : scan->dirty.xmax;
	MemoryContextSwitchTo(caller);
	return true;
}

void
store_scan_end(StoreScan *scan)
{
	leave_leaf(scan);
	MemoryContextDelete(scan->per_row);
}

/* ----------------------------------------------------------------
 *		Sweeping
 * ----------------------------------------------------------------
 */

/* Most pages that are read in one go. */
#define WALK_PAGES	1000

/* A copy of the key in the slot if its row has expired, else NULL. */
static IdempotencyKey *
expired_key(TupleTableSlot *slot, TimestampTz now)
{
	bool		isnull;
	IdempotencyKey *key;

	if (DatumGetTimestampTz(slot_getattr(slot, KEYS_EXPIRES_AT + 1, &isnull)) > now)
		return NULL;
	key = palloc(sizeof(IdempotencyKey));
	key->scope = DatumGetTextPCopy(slot_getattr(slot, KEYS_SCOPE + 1, &isnull));
	key->name = DatumGetTextPCopy(slot_getattr(slot, KEYS_KEY + 1, &isnull));
	key->hash = *DatumGetUUIDP(slot_getattr(slot, KEYS_HASH + 1, &isnull));
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

bool
store_delete_expired(Store *store, const IdempotencyKey *key, TimestampTz now)
{
	return delete_expired(store, LEAF_LONG, key, now);
}
