/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Reading the stored keys from end to end.
 *
 * All rows of all leaves, with a dirty snapshot, so that the claims of
 * transactions in progress are included.  During such a scan a row may move from
 * a page that the scan has not reached to one that it has passed.  A caller that
 * must not miss the row also asks for old versions: the version that was left
 * behind can't be pruned, since the caller's snapshot still sees it.
 *
 * purge() and erase_scope() read the keys of their scope first, and then work on
 * them in the order of their locks, as batches do: in another order, two of them
 * could wait for each other, or for a batch.  The scan has ended by then, so that
 * no leaf is kept from being emptied while the call waits for a key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/subtrans.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "objects.h"
#include "storage/procarray.h"
#include "store/deferred.h"
#include "store/keyrow.h"
#include "store/local/scan.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

/*
 * A scan of all leaves for all rows, including expired ones, that are committed
 * or were written by the current transaction or another one in progress.  A row
 * that a transaction in progress has replaced is returned in both versions.
 * Tables are read under AccessShareLock.
 *
 * With old_versions, the scan also returns versions that were replaced or
 * deleted after the oldest snapshot in use was taken, and no writer.  Each key
 * that was committed when the caller's snapshot was taken is returned at least
 * once, in some version, even if its row moves meanwhile.
 */
typedef struct LeafScan
{
	const IdempotencyKey *key;	/* NULL: all keys */
	int			leaf;
	bool		old_versions;
	Relation	heap;
	Relation	index;			/* of a scan for one key */
	TableScanDesc scan;
	IndexScanDesc index_scan;
	SnapshotData snapshot;
	TupleTableSlot *tts;
	MemoryContext per_row;		/* reset when the next row is fetched */
	bool		uncommitted;	/* the writer has written this version */
} LeafScan;

static void
scan_leaf(LeafScan *scan)
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
next_row_of_leaf(LeafScan *scan)
{
	return scan->key == NULL ?
		table_scan_getnextslot(scan->scan, ForwardScanDirection, scan->tts) :
		index_getnext_slot(scan->index_scan, ForwardScanDirection, scan->tts);
}

static void
leave_leaf(LeafScan *scan)
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
begin_scan(LeafScan *scan, const IdempotencyKey *key, bool old_versions)
{
	scan->key = key;
	memset(&scan->snapshot, 0, sizeof(scan->snapshot));
	InitDirtySnapshot(scan->snapshot);
	scan->old_versions = old_versions;
	scan->per_row = AllocSetContextCreate(CurrentMemoryContext,
										  "idempotency key being read",
										  ALLOCSET_DEFAULT_SIZES);
	scan->leaf = 0;
	scan_leaf(scan);
}

/*
 * Fetch the next row; it is valid until the next one is fetched.  writer is the
 * other transaction that works on the row, if any.
 */
static bool
next_row(LeafScan *scan, IdempotencyKey *key, KeyRow *row, TransactionId *writer)
{
	MemoryContext caller;

	CHECK_FOR_INTERRUPTS();
	while (!next_row_of_leaf(scan))
	{
		if (scan->leaf == LEAVES - 1)
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

static void
end_scan(LeafScan *scan)
{
	leave_leaf(scan);
	MemoryContextDelete(scan->per_row);
}

/* ----------------------------------------------------------------
 *		The keys of a scope
 * ----------------------------------------------------------------
 */

/* Columns of a sorted key. */
enum
{
	SORTED_LOCK,
	SORTED_HASH,
	SORTED_SCOPE,
	SORTED_KEY,
	SORTED_COLUMNS
};

static TupleDesc
sorted_key_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(SORTED_COLUMNS);

	TupleDescInitEntry(desc, SORTED_LOCK + 1, "lock", INT8OID, -1, 0);
	TupleDescInitEntry(desc, SORTED_HASH + 1, "hash", UUIDOID, -1, 0);
	TupleDescInitEntry(desc, SORTED_SCOPE + 1, "scope", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, SORTED_KEY + 1, "key", TEXTOID, -1, 0);
	FINISH_TUPLE_DESC(desc);
	return desc;
}

static Tuplesortstate *
begin_sort(TupleDesc desc)
{
	AttrNumber	columns[] = {SORTED_LOCK + 1, SORTED_HASH + 1};
	Oid			operators[] = {Int8LessOperator, lookup_type_cache(UUIDOID, TYPECACHE_LT_OPR)->lt_opr};
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false};

	return tuplesort_begin_heap(desc, lengthof(columns), columns, operators, collations,
								nulls_first, work_mem, NULL, TUPLESORT_NONE);
}

/* Locks are ordered as unsigned numbers. */
static void
sort_key(Tuplesortstate *sort, TupleTableSlot *tts, const IdempotencyKey *key)
{
	ExecClearTuple(tts);
	memset(tts->tts_isnull, false, SORTED_COLUMNS * sizeof(bool));
	tts->tts_values[SORTED_LOCK] = Int64GetDatum((int64) (key_lock_bits(&key->hash) ^ PG_INT64_MIN));
	tts->tts_values[SORTED_HASH] = UUIDPGetDatum(&key->hash);
	tts->tts_values[SORTED_SCOPE] = PointerGetDatum(key->scope);
	tts->tts_values[SORTED_KEY] = PointerGetDatum(key->name);
	ExecStoreVirtualTuple(tts);
	tuplesort_puttupleslot(sort, tts);
}

/* Whether a scope is the given one or is below it. */
static bool
scope_covers(const text *above, const text *scope)
{
	Size		length = VARSIZE_ANY_EXHDR(above);
	Size		scope_length = VARSIZE_ANY_EXHDR(scope);

	return scope_length >= length &&
		memcmp(VARDATA_ANY(scope), VARDATA_ANY(above), length) == 0 &&
		(scope_length == length || VARDATA_ANY(scope)[length] == '/');
}

/* Sort the keys of the scope and of those below it, stored or deferred. */
static Tuplesortstate *
sort_keys_of_scope(TupleDesc desc, const text *scope)
{
	Tuplesortstate *sort = begin_sort(desc);
	TupleTableSlot *tts = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	LeafScan	scan;
	IdempotencyKey key;
	KeyRow		row;
	TransactionId writer;
	int			position = 0;

	while (deferred_next(&position, &key, &row))
	{
		if (scope_covers(scope, key.scope))
			sort_key(sort, tts, &key);
	}
	begin_scan(&scan, NULL, true);
	while (next_row(&scan, &key, &row, &writer))
	{
		if (scope_covers(scope, key.scope))
			sort_key(sort, tts, &key);
	}
	end_scan(&scan);
	ExecDropSingleTupleTableSlot(tts);
	tuplesort_performsort(sort);
	return sort;
}

int64
local_work_on_scope(Store *store, const text *scope, WorkOnKey work)
{
	int64		count = 0;
	TupleDesc	desc = sorted_key_desc();
	Tuplesortstate *sort = sort_keys_of_scope(desc, scope);
	TupleTableSlot *tts = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	MemoryContext per_key = AllocSetContextCreate(CurrentMemoryContext,
												  "idempotency key of a scope",
												  ALLOCSET_DEFAULT_SIZES);
	pg_uuid_t	last = {0};

	while (tuplesort_gettupleslot(sort, true, false, tts, NULL))
	{
		IdempotencyKey key;
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(tts);
		key.hash = *DatumGetUUIDP(tts->tts_values[SORTED_HASH]);
		/* There may be several versions of a row. */
		if (memcmp(&key.hash, &last, sizeof(pg_uuid_t)) == 0)
			continue;
		last = key.hash;
		caller = MemoryContextSwitchTo(per_key);
		key.scope = DatumGetTextPP(tts->tts_values[SORTED_SCOPE]);
		key.name = DatumGetTextPP(tts->tts_values[SORTED_KEY]);
		if (work(&key, store))
			count++;
		MemoryContextSwitchTo(caller);
		MemoryContextReset(per_key);
	}
	ExecDropSingleTupleTableSlot(tts);
	tuplesort_end(sort);
	MemoryContextDelete(per_key);
	return count;
}

/* ----------------------------------------------------------------
 *		Claims in progress
 * ----------------------------------------------------------------
 */

/*
 * The top-level transaction of a row's writer.  A subtransaction that has
 * ended no longer holds a lock by which its session could be found.
 */
static TransactionId
whole_transaction(const KeyRow *row, TransactionId writer)
{
	if (row->own)
		return GetTopTransactionIdIfAny();
	return TransactionIdIsNormal(writer) ?
		SubTransGetTopmostTransaction(writer) : InvalidTransactionId;
}

/*
 * Whether a transaction in progress has replaced or deleted the version that was
 * fetched.  A dirty snapshot does not report this for a version that is uncommitted
 * itself.
 */
static bool
is_replaced(const LeafScan *scan)
{
	HeapTuple	tuple = ExecCopySlotHeapTuple(scan->tts);
	HeapTupleHeader header = tuple->t_data;

	return (header->t_infomask & HEAP_XMAX_INVALID) == 0 &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		TransactionIdIsInProgress(HeapTupleHeaderGetUpdateXid(header));
}

void
local_visit_unfinished(Store *store, const IdempotencyKey *of, TimestampTz now,
					   VisitClaim visit, void *argument)
{
	LeafScan	scan;
	IdempotencyKey key;
	KeyRow		row;
	TransactionId writer;
	int			position = 0;

	begin_scan(&scan, of, false);
	while (next_row(&scan, &key, &row, &writer))
	{
		if (row.status != KEY_IN_PROGRESS && !row.own && !scan.uncommitted)
			continue;
		writer = whole_transaction(&row, writer);
		if (row.expires_at > now || TransactionIdIsValid(writer))
		{
			MemoryContext caller = MemoryContextSwitchTo(scan.per_row);
			bool		replaced = is_replaced(&scan);

			MemoryContextSwitchTo(caller);
			visit(&key, &row, writer, replaced, argument);
		}
	}
	end_scan(&scan);
	while (deferred_next(&position, &key, &row))
	{
		CHECK_FOR_INTERRUPTS();
		if (of == NULL || same_key(of, &key))
			visit(&key, &row, row.claim_xid, false, argument);
	}
}
