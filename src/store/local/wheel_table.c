/*-------------------------------------------------------------------------
 *
 * wheel_table.c
 *	  The table of the wheel: the upper bounds of the slots.
 *
 * The table is read with a self snapshot: at any isolation level of the caller
 * it shows what is committed now, and it leaves no predicate lock.  Such a scan
 * may see both versions of a row that is being replaced, or neither.  Both: the
 * later upper bound counts.  Neither: the slot has just been turned, it holds no
 * key that the caller may be looking for, and the message of the turn makes the
 * next call read again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "miscadmin.h"
#include "objects.h"
#include "storage/bufmgr.h"
#include "store/local/wheel_table.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define Anum_wheel_slot		1
#define Anum_wheel_until	2
#define Natts_wheel			2

PG_FUNCTION_INFO_V1(idempotency_empty_wheel);

static const Oid column_types[Natts_wheel] = {INT2OID, TIMESTAMPTZOID};

/*
 * The (sub)transaction of this backend that turned the slot.  If it is rolled
 * back, others turn the slot and store keys in it.
 */
static TransactionId turned_by[WHEEL_SLOTS];

static bool
turned_here(int slot)
{
	return TransactionIdIsCurrentTransactionId(turned_by[slot]);
}

Relation
wheel_table_open(LOCKMODE mode)
{
	Relation	relation = table_open(objects()->wheel, mode);

	(void) objects();
	check_columns("wheel", RelationGetDescr(relation), column_types, Natts_wheel);
	return relation;
}

/* The slot and the upper bound of a row; raises DATA_CORRUPTED for one that can't be. */
static int
read_row(TupleTableSlot *tts, TimestampTz *until)
{
	bool		no_slot;
	bool		no_until;
	int			slot = DatumGetInt16(slot_getattr(tts, Anum_wheel_slot, &no_slot));

	*until = DatumGetTimestampTz(slot_getattr(tts, Anum_wheel_until, &no_until));
	if (no_slot || no_until || slot < 0 || slot >= WHEEL_SLOTS)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table \"idempotency.wheel\" has an invalid row"),
				 no_slot || no_until ?
				 errdetail("The row has no slot, or no upper bound.") :
				 errdetail("Its slot is %d; slots have the numbers 0 to %d.", slot, WHEEL_SLOTS - 1),
				 errhint("Correct the row, and restore the constraints of the table.")));
	return slot;
}

/*
 * Other backends rely on the committed wheel, and so must a writer: if it put a
 * row into a slot that the same transaction has turned, the slot would be past
 * for all others, and locked as during any turn, so that they would not probe
 * it.  Only a sweep includes such slots.
 */
void
wheel_table_read(Wheel *wheel, bool own_turns)
{
	Relation	relation = wheel_table_open(AccessShareLock);
	TupleTableSlot *tts = table_slot_create(relation, NULL);
	TableScanDesc scan = begin_table_scan(relation, SnapshotSelf);

	for (int i = 0; i < WHEEL_SLOTS; i++)
		wheel->until[i] = DT_NOBEGIN;

	while (table_scan_getnextslot(scan, ForwardScanDirection, tts))
	{
		TimestampTz until;
		int			number = read_row(tts, &until);

		if (until > wheel->until[number] && (own_turns || !turned_here(number)))
			wheel->until[number] = until;
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(tts);
	table_close(relation, AccessShareLock);
}

void
wheel_table_insert(Relation relation, int number, TimestampTz until)
{
	TupleTableSlot *row = MakeSingleTupleTableSlot(RelationGetDescr(relation),
												   &TTSOpsVirtual);

	memset(row->tts_isnull, true, row->tts_tupleDescriptor->natts * sizeof(bool));
	memset(row->tts_isnull, false, Natts_wheel * sizeof(bool));
	row->tts_values[Anum_wheel_slot - 1] = Int16GetDatum(number);
	row->tts_values[Anum_wheel_until - 1] = TimestampTzGetDatum(until);
	ExecStoreVirtualTuple(row);
	table_tuple_insert(relation, row, GetCurrentCommandId(true), 0, NULL);
	ExecDropSingleTupleTableSlot(row);
}

/* Delete the rows of a slot, or of all if it is negative. */
static void
delete_rows(Relation relation, int number)
{
	TupleTableSlot *row = table_slot_create(relation, NULL);
	TableScanDesc scan = begin_table_scan(relation, SnapshotSelf);

	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		TimestampTz until;

		if (number < 0 || read_row(row, &until) == number)
			simple_table_tuple_delete(relation, &row->tts_tid, InvalidSnapshot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(row);
}

void
wheel_table_replace(Relation relation, int number, TimestampTz until)
{
	delete_rows(relation, number);
	wheel_table_insert(relation, number, until);
	/* An inner subtransaction may be rolled back alone. */
	if (!turned_here(number))
		turned_by[number] = GetCurrentTransactionId();
}

/* Raise OBJECT_IN_USE if a leaf has been written to since it was emptied. */
static void
check_no_keys_stored(void)
{
	for (int leaf = 0; leaf < LEAVES; leaf++)
	{
		Relation	relation = table_open(objects()->leaf[leaf], ShareLock);

		if (RelationGetNumberOfBlocks(relation) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("idempotency keys are stored on this server"),
					 errdetail("Without the wheel they would count as absent, and their requests could run again."),
					 errhint("Empty the table \"idempotency.keys\" first, if its keys may be forgotten.")));
		table_close(relation, NoLock);
	}
}

/*
 * empty_wheel()
 *
 * Removes the wheel of a server that will subscribe to that of another one: of
 * two rows for a slot the later counts, so that the server's own rows would
 * keep the slots that arrive from being turned.  Raises OBJECT_IN_USE if keys
 * are stored.
 *
 * The locks on the leaves wait for claims that have written, and block others
 * until the end of the transaction; these read the wheel again.
 */
Datum
idempotency_empty_wheel(PG_FUNCTION_ARGS)
{
	Relation	relation;

	PreventCommandIfReadOnly("idempotency.empty_wheel()");
	check_no_keys_stored();
	relation = wheel_table_open(ShareRowExclusiveLock);
	check_triggers();
	delete_rows(relation, -1);
	CacheInvalidateRelcache(relation);
	CommandCounterIncrement();
	table_close(relation, NoLock);
	PG_RETURN_VOID();
}
