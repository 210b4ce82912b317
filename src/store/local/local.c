/*-------------------------------------------------------------------------
 *
 * local.c
 *	  The stored keys, in the tables of the expiry wheel.
 *
 * Rows are read and written through the table and index access methods, below
 * the executor: without plans, triggers or privilege checks.  Access is
 * controlled by the privileges on the SQL functions.
 *
 * Reading.  A probe scans the hash index of each live leaf with a dirty
 * snapshot.  At every isolation level, that shows the rows that are committed
 * at this instant, and those of transactions in progress with their xids.  It
 * takes no predicate locks, so that two keys never conflict under
 * SERIALIZABLE.  Every write happens under the key's lock, so under that lock
 * no row is written during the scan; but a writer may commit or abort during
 * it:
 *
 *		- T moved the row from leaf A to B.  A is read while T runs: it shows
 *		  the old version, which T has deleted.  T commits, and B shows the new
 *		  version.  Both are found; the settled one is the later version.
 *		- B is read first, then T aborts: A shows a settled row, and the writer
 *		  that B showed has ended.  Waiting for it returns at once.
 *
 * Writing.  Within a leaf the unique index decides: an insertion that meets
 * another live entry of the same hash, committed or not, is undone, and the
 * caller probes again.  Under the key's lock that happens only if a row was
 * inserted by hand.  Across leaves no index can decide; the lock does.
 * Expired rows of one key may be in several leaves: a restore from pg_dump
 * gives a slot that is past a later upper bound, and with it the rows that
 * were ignored when their keys were claimed again.  Such a row is deleted when
 * an insertion conflicts with it (W4).
 *
 * W1: no row expires after the upper bound of its leaf.  Only local_write()
 * puts rows into leaves, and it chooses the leaf by the expiry.  If the expiry
 * of a row becomes later than the bound of its leaf, the row is inserted into
 * another leaf and deleted from the first, under the key's lock, in the same
 * transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "compat.h"
#include "miscadmin.h"
#include "store/choice.h"
#include "store/deferred.h"
#include "store/keylock.h"
#include "store/local/first_use.h"
#include "store/local/index_entry.h"
#include "store/local/leaf.h"
#include "store/local/place.h"
#include "store/local/scan.h"
#include "store/store.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* ----------------------------------------------------------------
 *		Probing
 * ----------------------------------------------------------------
 */

/*
 * Whether the row just read supersedes the one that the probe has: a live row
 * supersedes an expired one, a settled row one that another transaction is
 * replacing, and a later claim an earlier one.
 */
static bool
supersedes(const KeyRow *row, bool replaced,
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
 * index_getnext_slot(), but a slot is made only if there is an entry: a new key
 * has none.
 */
static TupleTableSlot *
next_version(Leaves *leaves, int leaf, IndexScanDesc scan)
{
	while (scan->xs_heap_continue || index_getnext_tid(scan, ForwardScanDirection) != NULL)
	{
		TupleTableSlot *tts = leaf_read_tts(leaves, leaf);

		if (index_fetch_heap(scan, tts))
			return tts;
	}
	return NULL;
}

/*
 * Returns whether the probe is complete: it has found a live row that no other
 * transaction is replacing.
 *
 * A slot whose upper bound is past holds expired rows, which its turn will
 * remove.  It may also hold rows of a transaction in progress, whose claim is
 * protected although it has outlived its slot; and claims that never ended,
 * whose rows supply the attempt for the next owner as long as they exist.  The
 * probe does not wait for the sweeper, which holds the lock only if there is
 * no such transaction, and is about to remove the other rows.  The probe
 * closes a slot that is past at once, since the sweeper needs an instant in
 * which no claim has it open.  (A row found there may have out-of-line
 * values.)
 */
static bool
probe_leaf(Leaves *leaves, int leaf, const IdempotencyKey *key,
		   TimestampTz now, Probe *probe, bool *replaced)
{
	bool		past = !wheel_leaf_is_live(&leaves->wheel, leaf, now);
	SnapshotData dirty;
	ScanKeyData condition;
	IndexScanDesc scan;
	TupleTableSlot *tts;
	bool		complete = false;
	bool		found = false;

	if (past && !leaf_open_past(leaves, leaf))
		return false;
	leaf_open(leaves, leaf);
	leaf_open_index(leaves, leaf);

	InitDirtySnapshot(dirty);
	ScanKeyInit(&condition, 1, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(&key->hash));
	scan = begin_index_scan(leaves->heap[leaf], leaves->index[leaf], &dirty, 1);
	index_rescan(scan, &condition, 1, NULL, 0);
	while (!complete && (tts = next_version(leaves, leaf, scan)) != NULL)
	{
		KeyRow		row;
		bool		row_replaced;

		CHECK_FOR_INTERRUPTS();
		keyrow_check_key(key, tts);

		if (TransactionIdIsValid(dirty.xmin))
		{
			/* inserted by a transaction that has not ended */
			probe->writer = dirty.xmin;
			continue;
		}
		row_replaced = TransactionIdIsValid(dirty.xmax);
		if (row_replaced)
			probe->writer = dirty.xmax;

		keyrow_read(&row, tts);
		row.leaf = leaf;
		if (past && !row.own && row.status != KEY_IN_PROGRESS)
			continue;
		found = true;
		if (!probe->found ||
			supersedes(&row, row_replaced, &probe->row, *replaced, now))
		{
			probe->found = true;
			probe->row = row;
			*replaced = row_replaced;
		}
		complete = !row_replaced && row.expires_at > now;
	}
	index_endscan(scan);
	if (leaves->read_tts != NULL)
		ExecClearTuple(leaves->read_tts);
	if (past && !found)
		leaf_close(leaves, leaf);
	return complete;
}

static void
local_probe(Store *store, const IdempotencyKey *key,
			TimestampTz now, TimestampTz hint, Probe *probe)
{
	Leaves	   *leaves = &store->leaves;
	const bool *unused = leaves->wheel.unused;
	int			first = wheel_leaf_for(&leaves->wheel, hint);
	bool		replaced = false;

	probe->found = false;
	probe->writer = InvalidTransactionId;

	/* W3: probe every leaf that is used, until a live row is found. */
	if (!unused[first] && probe_leaf(leaves, first, key, now, probe, &replaced))
		return;
	for (int leaf = 0; leaf < LEAVES; leaf++)
	{
		if (leaf != first && !unused[leaf] &&
			probe_leaf(leaves, leaf, key, now, probe, &replaced))
			return;
	}
	if (!probe->found)
		probe->found = deferred_row(key, &probe->row);
}

/*
 * Fetch the row that the current transaction has written to a place into the
 * slot for reading.  Returns NULL if it is not there: the current transaction
 * may have deleted it.
 */
static TupleTableSlot *
fetch_place(Leaves *leaves, const Place *place)
{
	TupleTableSlot *tts;
	SnapshotData dirty;

	leaf_open(leaves, place->leaf);
	tts = leaf_read_tts(leaves, place->leaf);
	InitDirtySnapshot(dirty);
	return table_tuple_fetch_row_version(leaves->heap[place->leaf],
										 unconstify(ItemPointerData *, &place->tid), &dirty, tts) ?
		tts : NULL;
}

/*
 * Find the key's row without an index scan, if the current transaction has
 * written it and its place is remembered.  Returns false if the row must be
 * looked up.
 *
 * No other transaction can have written the key since the current one did, and
 * none can have written the key of an open deferred claim.
 */
static bool
recall(Leaves *leaves, const IdempotencyKey *key, Probe *probe)
{
	const Place *place;
	TupleTableSlot *tts;
	bool		recalled = false;

	if (deferred_row(key, &probe->row))
	{
		/* The claim has locked its leaf. */
		leaves->kept[probe->row.leaf] = true;
		probe->writer = InvalidTransactionId;
		return probe->found = true;
	}
	place = place_of(key);
	if (place == NULL)
		return false;
	tts = fetch_place(leaves, place);
	if (tts == NULL)
		return false;
	if (keyrow_is_of(key, tts))
	{
		keyrow_read(&probe->row, tts);
		probe->row.leaf = place->leaf;
		probe->found = recalled = probe->row.own;
		probe->writer = InvalidTransactionId;
	}
	ExecClearTuple(tts);
	return recalled;
}

static bool
local_probe_for_update(Store *store, const IdempotencyKey *key,
					   TimestampTz now, TimestampTz hint, const WaitLimit *limit,
					   StatsEntry *stats, Probe *probe)
{
	if (!recall(&store->leaves, key, probe))
		local_probe(store, key, now, hint, probe);
	return true;
}

/* ----------------------------------------------------------------
 *		Writing
 * ----------------------------------------------------------------
 */

/*
 * Insert into the row's leaf.  On conflict, undoes the insertion and returns
 * false.
 */
static bool
insert_row(Leaves *leaves, const IdempotencyKey *key, KeyRow *row,
		   TupleTableSlot *tts)
{
	int			leaf = row->leaf;

	use_leaf(leaves->heap[leaf]);
	table_tuple_insert(leaves->heap[leaf], tts, GetCurrentCommandId(true), 0, NULL);
	row->tid = tts->tts_tid;
	if (enter_hash(leaves, leaf, key, &row->tid))
	{
		enter_other_indexes(leaves, leaf, tts, &row->tid, false);
		return true;
	}

	/* Make the tuple belong to an earlier command, then delete it. */
	CommandCounterIncrement();
	simple_table_tuple_delete(leaves->heap[leaf], &row->tid, InvalidSnapshot);
	return false;
}

static void
update_row(Leaves *leaves, const IdempotencyKey *key, KeyRow *row,
		   TupleTableSlot *tts)
{
	IndexesToUpdate indexes;

	simple_table_tuple_update(leaves->heap[row->leaf], &row->tid, tts,
							  InvalidSnapshot, &indexes);
	row->tid = tts->tts_tid;

	/*
	 * Needed only if the page had no room, or an administrator's index has a
	 * column that changes.  The entry of the version just replaced does not
	 * conflict.
	 */
	if (UPDATE_NEEDS_INDEX_ENTRY(indexes))
	{
		if (!enter_hash(leaves, row->leaf, key, &row->tid))
			elog(ERROR, "idempotency key is stored twice");
		enter_other_indexes(leaves, row->leaf, tts, &row->tid, false);
	}
	else if (UPDATE_NEEDS_SUMMARY(indexes))
	{
		leaf_open_index(leaves, row->leaf);
		enter_other_indexes(leaves, row->leaf, tts, &row->tid, true);
	}
}

static void
delete_row(Leaves *leaves, KeyRow *row)
{
	leaf_write(leaves, row->leaf);
	check_triggers();
	simple_table_tuple_delete(leaves->heap[row->leaf],
							  &row->tid, InvalidSnapshot);
	CommandCounterIncrement();
}

static void
local_delete(Store *store, const IdempotencyKey *key, KeyRow *row)
{
	if (row->stored)
		delete_row(&store->leaves, row);
	else
		deferred_end(key);
}

/*
 * Delete the key's row from the leaf if it has expired, and no transaction,
 * this one included, works on it.
 */
static bool
delete_expired(Leaves *leaves, int leaf, const IdempotencyKey *key, TimestampTz now)
{
	Probe		probe = {0};
	bool		replaced = false;

	(void) probe_leaf(leaves, leaf, key, now, &probe, &replaced);
	if (!probe.found || TransactionIdIsValid(probe.writer) ||
		probe.row.own || probe.row.expires_at > now)
		return false;
	delete_row(leaves, &probe.row);
	return true;
}

/*
 * Choose the row's leaf by its expiry and lock it; return whether the row is
 * in that leaf already.  If a leaf is locked against writers, for instance
 * while it is laid, the next one that reaches as far is taken, so that no
 * claim waits for a sweep.  W6: with the lock, the messages of an earlier
 * change of the wheel have been accepted; if there was one, the leaf is chosen
 * again.  If that gives the leaf that is locked already, its bound was read under
 * the lock, and messages about other leaves don't matter.
 */
static bool
choose_leaf(Leaves *leaves, KeyRow *row)
{
	int			before = row->leaf;
	int			locked_before_read = -1;
	bool		in_place;

	for (;;)
	{
		in_place = row->stored &&
			wheel_leaf_reaches(&leaves->wheel, before, row->expires_at);
		row->leaf = in_place ? before : wheel_leaf_for(&leaves->wheel, row->expires_at);
		while (!in_place && row->leaf != LEAF_LONG &&
			   !leaf_open_if_free(leaves, row->leaf))
			row->leaf = wheel_leaf_beyond(&leaves->wheel, row->leaf);
		leaf_open(leaves, row->leaf);
		if (wheel_is_current(&leaves->wheel) || row->leaf == locked_before_read)
			return in_place;
		locked_before_read = row->leaf;
		wheel_read(&leaves->wheel);
	}
}

static WriteResult
local_write(Store *store, const IdempotencyKey *key, KeyRow *row,
			const WaitLimit *limit, StatsEntry *stats)
{
	Leaves	   *leaves = &store->leaves;
	KeyRow		before = *row;
	bool		in_place;
	TupleTableSlot *tts;
	bool		written = true;

	in_place = choose_leaf(leaves, row);
	check_local_store_in_use();
	check_triggers();
	leaf_write(leaves, row->leaf);

	if (row->claimed_here)
		row->claim_xid = GetTopTransactionId();
	tts = leaf_write_tts(leaves, row->leaf);
	ExecStoreHeapTuple(keyrow_tuple(key, row, tts->tts_tupleDescriptor), tts, true);
	tts->tts_tableOid = RelationGetRelid(leaves->heap[row->leaf]);

	if (in_place)
		update_row(leaves, key, row, tts);
	else
		written = insert_row(leaves, key, row, tts) ||
			(delete_expired(leaves, row->leaf, key, GetCurrentTimestamp()) &&
			 insert_row(leaves, key, row, tts));

	/*
	 * The insertion has copied the moved row's values, including out-of-line
	 * ones, so the old version may be deleted.
	 */
	if (written && !in_place && before.stored)
	{
		leaf_write(leaves, before.leaf);
		simple_table_tuple_delete(leaves->heap[before.leaf], &before.tid,
								  InvalidSnapshot);
	}
	ExecClearTuple(tts);

	/* The current command may write the row once more. */
	CommandCounterIncrement();
	row->stored = written;
	row->own = true;
	if (written)
	{
		if (!before.stored)
			deferred_end(key);
		remember_place(key, row->leaf, &row->tid);
	}
	return written ? WRITE_DONE : WRITE_REFUSED;
}

/* The leaf is locked as if the row had been written. */
static bool
local_defer(Store *store, const IdempotencyKey *key, KeyRow *row)
{
	Leaves	   *leaves = &store->leaves;

	if (!deferred_possible(key))
		return false;
	(void) choose_leaf(leaves, row);
	check_local_store_in_use();
	check_triggers();
	leaf_write(leaves, row->leaf);
	row->claim_xid = GetTopTransactionId();
	row->own = true;
	deferred_begin(key, row);
	return true;
}

/*
 * A deferred claim, or one of those whose places are remembered.  To read all
 * rows would take seconds in a large database.
 */
static bool
local_find_unfinished(Store *store, IdempotencyKey *key)
{
	Leaves	   *leaves = &store->leaves;
	const Place *place;
	int			position = 0;
	bool		found = deferred_any(key);

	while (!found && (place = next_place(&position)) != NULL)
	{
		TupleTableSlot *tts = fetch_place(leaves, place);
		KeyRow		row;

		if (tts == NULL)
			continue;
		keyrow_read(&row, tts);
		found = row.own && row.unfinished;
		if (found)
			keyrow_key(key, tts);
		ExecClearTuple(tts);
	}
	return found;
}

static void
local_refresh(Store *store)
{
	wheel_read(&store->leaves.wheel);
}

static void
local_close(Store *store)
{
	leaves_close(&store->leaves);
}

const StoreMethods local_store = {
	.writes_first = false,
	.try_lock = keylock_try,
	.lock = keylock_wait,
	.unlock = keylock_release,
	.refresh = local_refresh,
	.close = local_close,
	.probe = local_probe,
	.probe_for_update = local_probe_for_update,
	.defer = local_defer,
	.write = local_write,
	.delete = local_delete,
	.purge = local_work_on_scope,
	.erase_scope = local_work_on_scope,
	.visit_unfinished = local_visit_unfinished,
	.find_unfinished = local_find_unfinished,
	.expire = local_expire,
};
