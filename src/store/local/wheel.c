/*-------------------------------------------------------------------------
 *
 * wheel.c
 *	  The expiry wheel: which slot holds which keys, and its turning.
 *
 * Each slot has an upper bound, and no key in it expires later (W1).  A key goes
 * into the slot with the smallest upper bound that is not before its expiry, or,
 * if the wheel does not reach that far, into keys_long (W5).  A slot whose upper
 * bound has passed holds expired keys only; it is emptied as a whole and handed
 * a later upper bound.
 *
 * A backend keeps what it knows of the wheel between calls, and drops it when it
 * receives the relcache message that a turn sends.  W3: a claim that finds
 * nothing relies on nothing older than its key lock:
 *
 *		turn of slot S				earlier claim of K			this claim of K
 *		lock S, empty it,
 *		  set its upper bound
 *		commit, send messages,
 *		  unlock S
 *									lock K
 *									lock S, insert K into S
 *									unlock K
 *																lock K
 *																accept messages,
 *																read the wheel,
 *																probe S
 *
 * The earlier claim can insert into the new S only after the turn has unlocked
 * it, and so after the messages of the turn were sent.  This claim has K's lock
 * after that, so wheel_read() accepts the messages and reads the new upper bound.
 * For this reason wheel_read() accepts messages on every call, and callers call
 * it after they have locked the key.  For the same reason a turn locks a slot
 * that is empty already, and sends a message of its own: TRUNCATE sends one only
 * if there was something to empty.
 *
 * A leaf that has never been used is not looked into.  Most slots of a wheel are
 * unused, and opening and measuring all of them would cost as much as the rest of
 * a claim.  W3 then requires that no earlier claim of K has put a row into a leaf
 * that is believed to be unused:
 *
 *		first use of leaf S				finding out what is unused
 *		lock the wheel for first use
 *		send a message to all
 *		add an empty page to S
 *		unlock the wheel				lock the wheel against first use
 *										  (waits here while another has it)
 *		insert K into S,				measure S
 *		unlock K						unlock the wheel
 *
 * The message is sent at once and not at the commit, because the row counts
 * before it is committed.  A backend that takes K's lock after the earlier claim
 * accepts the message with it and measures again.  It then sees either the page,
 * or no page and a message that is still to come.  So no leaf grows from no page
 * to one except in wheel_use_leaf(), which looks at the number of pages even if
 * the leaf is believed to be used: VACUUM may have removed all its pages since.
 * After a crash there is no belief that could be wrong.  A standby does not
 * receive these messages, and takes every leaf as used.
 *
 * The table is read with a self snapshot: at any isolation level of the caller
 * it shows what is committed now, and it leaves no predicate lock.  Such a scan
 * may see both versions of a row that is being replaced, or neither.  Both: the
 * later upper bound counts.  Neither: the slot has just been turned, it holds no
 * key that the caller may be looking for, and the message of the turn makes the
 * next call read again.
 *
 * Turning.  W2: a slot is emptied only when its upper bound is past, under an
 * ACCESS EXCLUSIVE lock on its table, toast table and indexes, each of which is
 * taken only if it is free.  A lock request that waited would make every later
 * claim that looks into the slot wait behind it.  So would a request that waited
 * for a toast table in use by autovacuum while the slot itself is locked already.
 * A slot to which the current transaction has written is busy like any other: its
 * lock would be granted, but the rows are not committed yet.
 *
 * A backend that turns the wheel holds a SHARE ROW EXCLUSIVE lock on its table.
 * That keeps out a second sweeper and writers by hand, so that the upper bounds
 * don't change between reading them and emptying a slot.  Claims read the table
 * under ACCESS SHARE and don't wait.
 *
 * Laying the wheel.  The upper bounds belong at the next eight ticks, which are
 * counted from a time that each database has of its own, so that not all of them
 * turn at once.  A changed tick, a restore, or a clock that was wrong leaves
 * slots elsewhere.  Such a slot is laid at a tick that no other slot has as soon
 * as it is empty, and its upper bound may shrink then.  That is W6: an upper
 * bound shrinks only for a slot that holds no row, under a lock that keeps writers
 * out, and a writer that has locked its leaf verifies that the wheel is still the
 * one by which it chose that leaf:
 *
 *		laying slot S				claim of K
 *									lock K, read the wheel: S reaches far
 *									probe: nothing; S is to take the row
 *		lock S, find it empty,
 *		  shrink its bound
 *		commit, send messages,
 *		  unlock S
 *									lock S, and with it accept the messages:
 *									  the wheel has changed, read it and choose
 *									  again
 *
 * Without the second look the row would outlive S (W1), and S would be emptied
 * under it.  A writer that has S locked since before keeps the other one out, and
 * so does a row that is in S, since S is not empty then.  A bound that grows,
 * as in a turn, breaks nothing: a writer that relies on the earlier one keeps W1.
 * Rows put into a leaf by hand or by COPY lock it and raise its bound after that.
 *
 * Rows of a slot that is laid too far ahead expire long before their slot; the
 * sweeper deletes them one by one, as those of keys_long.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "guc.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/sinval.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "store/keyrow.h"
#include "store/local/wheel.h"

/* How often, at intervals of a millisecond, a round tries to lock a slot. */
#define LOCK_ATTEMPTS		100

#define Anum_wheel_slot		1
#define Anum_wheel_until	2
#define Natts_wheel			2

PG_FUNCTION_INFO_V1(idempotency_use_leaf);
PG_FUNCTION_INFO_V1(idempotency_raise_until);
PG_FUNCTION_INFO_V1(idempotency_empty_wheel);

static const Oid column_types[Natts_wheel] = {INT2OID, TIMESTAMPTZOID};

/* Its generation is 0 before the wheel is read for the first time. */
static Wheel known;

/* The last transaction of this backend that turned the slot. */
static TransactionId turned_by[WHEEL_SLOTS];

static bool
turned_here(int slot)
{
	return TransactionIdIsValid(turned_by[slot]) &&
		TransactionIdEquals(turned_by[slot], GetTopTransactionIdIfAny());
}

/* Open the table, and check its columns once it is locked. */
static Relation
open_table(LOCKMODE mode)
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
				 errmsg("table \"idempotency.wheel\" has a row that is not of the wheel"),
				 no_slot || no_until ?
				 errdetail("The row has no slot, or no upper bound.") :
				 errdetail("Its slot is %d; there are 0 to %d.", slot, WHEEL_SLOTS - 1),
				 errhint("Correct the row, and restore the constraints of the table.")));
	return slot;
}

/*
 * Read the table.  Other backends rely on the committed wheel, and so must a
 * writer: if it put a row into a slot that the same transaction has turned,
 * the slot would be past for all others, and locked as during any turn, so
 * that they would not probe it.  Only a sweep includes such slots.
 */
static void
read_table(Wheel *wheel, bool own_turns)
{
	Relation	relation = open_table(AccessShareLock);
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

/*
 * The lock that orders first use and measuring.  Its holder keeps it for a
 * moment, and waits for nothing but a page.
 */
static void
lock_first_use(LOCKMODE mode)
{
	LockDatabaseObject(RelationRelationId, objects()->wheel, 0, mode);
}

static void
unlock_first_use(LOCKMODE mode)
{
	UnlockDatabaseObject(RelationRelationId, objects()->wheel, 0, mode);
}

/* A leaf that is locked, by a turn for instance, counts as used. */
static void
find_unused(Wheel *wheel)
{
	memset(wheel->unused, false, sizeof(wheel->unused));
	if (RecoveryInProgress())
		return;
	lock_first_use(ShareLock);
	for (int leaf = 0; leaf < LEAVES; leaf++)
	{
		Oid			relid = objects()->leaf[leaf];

		if (ConditionalLockRelationOid(relid, AccessShareLock))
		{
			Relation	relation = table_open(relid, NoLock);

			wheel->unused[leaf] = RelationGetNumberOfBlocks(relation) == 0;
			table_close(relation, AccessShareLock);
		}
	}
	unlock_first_use(ShareLock);
}

void
wheel_read(Wheel *wheel)
{
	AcceptInvalidationMessages();
	if (!wheel_is_current(&known))
	{
		/* If a message arrives meanwhile, the next call reads again. */
		uint64		seen = objects_generation();

		read_table(&known, false);
		find_unused(&known);
		known.generation = seen;
	}
	*wheel = known;
}

bool
wheel_is_current(const Wheel *wheel)
{
	return wheel->generation == objects_generation();
}

static void
announce_first_use(void)
{
	SharedInvalidationMessage message;

	message.rc.id = SHAREDINVALRELCACHE_ID;
	message.rc.dbId = MyDatabaseId;
	message.rc.relId = objects()->wheel;
	SendSharedInvalidMessages(&message, 1);
}

void
wheel_use_leaf(Relation leaf)
{
	/* If the relation remembers a page with room, it has a page. */
	if (RelationGetTargetBlock(leaf) != InvalidBlockNumber ||
		RelationGetNumberOfBlocks(leaf) > 0)
		return;
	lock_first_use(ExclusiveLock);
	if (RelationGetNumberOfBlocks(leaf) == 0)
	{
		announce_first_use();
		add_empty_page(leaf);
	}
	unlock_first_use(ExclusiveLock);
}

/*
 * Row trigger on the leaves, for rows that arrive by COPY, by hand or by
 * logical replication.  Their hash is computed: it may come from a machine of
 * another byte order.
 */
Datum
idempotency_use_leaf(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("use_leaf() must be called as a trigger before an insertion, for each row")));
	wheel_use_leaf(trigger->tg_relation);
	return PointerGetDatum(keyrow_with_hash(trigger->tg_trigtuple,
											RelationGetDescr(trigger->tg_relation)));
}

int
wheel_leaf_for(const Wheel *wheel, TimestampTz expires_at)
{
	int			best = LEAF_LONG;

	for (int slot = 0; slot < WHEEL_SLOTS; slot++)
	{
		if (wheel->until[slot] >= expires_at &&
			(best == LEAF_LONG || wheel->until[slot] < wheel->until[best]))
			best = slot;
	}
	return best;
}

int
wheel_leaf_beyond(const Wheel *wheel, int leaf)
{
	TimestampTz until = wheel->until[leaf];

	return until == DT_NOEND ? LEAF_LONG : wheel_leaf_for(wheel, until + 1);
}

bool
wheel_leaf_is_live(const Wheel *wheel, int leaf, TimestampTz now)
{
	return leaf == LEAF_LONG || wheel->until[leaf] >= now;
}

bool
wheel_leaf_reaches(const Wheel *wheel, int leaf, TimestampTz expires_at)
{
	return leaf == LEAF_LONG || wheel->until[leaf] >= expires_at;
}

/* ----------------------------------------------------------------
 *		Changing the table
 * ----------------------------------------------------------------
 */

static void
insert_row(Relation relation, int number, TimestampTz until)
{
	TupleTableSlot *row = MakeSingleTupleTableSlot(RelationGetDescr(relation),
												   &TTSOpsVirtual);

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

/* Find the latest expiry of each slot's rows in a transition table. */
static void
latest_expiries(TriggerData *trigger, TimestampTz *latest)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	TupleTableSlot *row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	for (int slot = 0; slot < WHEEL_SLOTS; slot++)
		latest[slot] = DT_NOBEGIN;
	keyrow_check_columns(desc);
	tuplestore_select_read_pointer(trigger->tg_newtable, 0);
	tuplestore_rescan(trigger->tg_newtable);
	while (tuplestore_gettupleslot(trigger->tg_newtable, true, false, row))
	{
		int			slot = keyrow_slot(row);

		CHECK_FOR_INTERRUPTS();
		if (slot >= 0 && slot < WHEEL_SLOTS)
			latest[slot] = Max(latest[slot], keyrow_expires_at(row));
	}
	ExecDropSingleTupleTableSlot(row);
}

/*
 * Statement trigger on the tables that hold keys, for rows that arrive by COPY or
 * by hand.  The lock keeps out a turn, so that no slot is emptied between reading
 * its upper bound and raising it.
 */
Datum
idempotency_raise_until(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TimestampTz latest[WHEEL_SLOTS];
	Relation	relation;
	Wheel		wheel;

	if (!CALLED_AS_TRIGGER(fcinfo) || trigger->tg_newtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("raise_until() must be called as a trigger after an insertion, with a transition table")));
	latest_expiries(trigger, latest);
	relation = open_table(RowExclusiveLock);
	read_table(&wheel, true);
	for (int slot = 0; slot < WHEEL_SLOTS; slot++)
	{
		if (latest[slot] > wheel.until[slot])
		{
			insert_row(relation, slot, latest[slot]);
			CacheInvalidateRelcache(relation);
		}
	}
	CommandCounterIncrement();
	table_close(relation, NoLock);
	return PointerGetDatum(NULL);
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
	relation = open_table(ShareRowExclusiveLock);
	check_triggers();
	delete_rows(relation, -1);
	CacheInvalidateRelcache(relation);
	CommandCounterIncrement();
	table_close(relation, NoLock);
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------
 *		Turning
 * ----------------------------------------------------------------
 */

/* The slot whose upper bound passed first, of those not excluded; or -1. */
static int
oldest_due(const Wheel *wheel, TimestampTz now, const bool *excluded)
{
	int			oldest = -1;

	for (int slot = 0; slot < WHEEL_SLOTS; slot++)
	{
		if (!excluded[slot] && !wheel_leaf_is_live(wheel, slot, now) &&
			(oldest < 0 || wheel->until[slot] < wheel->until[oldest]))
			oldest = slot;
	}
	return oldest;
}

/* The first tick after the given time. */
static TimestampTz
next_tick(TimestampTz time)
{
	int64		phase = hash_bytes_uint32_extended(MyDatabaseId, 0) % (uint64) wheel_tick;
	int64		elapsed = (time - phase) % wheel_tick;

	if (elapsed < 0)
		elapsed += wheel_tick;
	return time - elapsed + wheel_tick;
}

/*
 * The number of the tick, counted from the first one, that the slot's upper bound
 * is at, or -1 if it belongs elsewhere.
 */
static int
tick_of_slot(const Wheel *wheel, int slot, TimestampTz first)
{
	TimestampTz until = wheel->until[slot];

	if (until < first || (until - first) % wheel_tick != 0 ||
		(until - first) / wheel_tick >= WHEEL_SLOTS)
		return -1;
	return (until - first) / wheel_tick;
}

/* Whether another slot, of a lower number, is at the slot's tick. */
static bool
tick_is_taken(const Wheel *wheel, int slot)
{
	for (int other = 0; other < slot; other++)
	{
		if (wheel->until[other] == wheel->until[slot])
			return true;
	}
	return false;
}

/*
 * The earliest of the next ticks that no slot is at.  There is such a tick for
 * each slot that is at none of them, or shares one with another slot.
 */
static TimestampTz
free_tick(const Wheel *wheel, TimestampTz first)
{
	bool		taken[WHEEL_SLOTS] = {0};
	int			tick = 0;

	for (int slot = 0; slot < WHEEL_SLOTS; slot++)
	{
		int			of_slot = tick_of_slot(wheel, slot, first);

		if (of_slot >= 0)
			taken[of_slot] = true;
	}
	while (tick < WHEEL_SLOTS - 1 && taken[tick])
		tick++;
	return first + tick * wheel_tick;
}

/* Whether the leaf has no page.  The caller has locked it. */
static bool
leaf_has_no_page(Oid relid)
{
	Relation	relation = table_open(relid, NoLock);
	bool		none = RelationGetNumberOfBlocks(relation) == 0;

	table_close(relation, NoLock);
	return none;
}

/* Whether the leaf has no row, expired or not.  The caller has locked it. */
static bool
leaf_is_empty(Oid relid)
{
	Relation	relation = table_open(relid, NoLock);
	bool		empty = RelationGetNumberOfBlocks(relation) == 0;

	if (!empty)
	{
		TupleTableSlot *tts = table_slot_create(relation, NULL);
		TableScanDesc scan = begin_table_scan(relation, SnapshotSelf);

		empty = !table_scan_getnextslot(scan, ForwardScanDirection, tts);
		table_endscan(scan);
		ExecDropSingleTupleTableSlot(tts);
	}
	table_close(relation, NoLock);
	return empty;
}

/*
 * Whether the slot is live, not at a tick of its own, and was empty when it was
 * looked at.
 */
static bool
can_be_laid(const Wheel *wheel, int slot, TimestampTz now)
{
	Oid			relid = objects()->leaf[slot];
	bool		empty;

	if (!wheel_leaf_is_live(wheel, slot, now) ||
		(tick_of_slot(wheel, slot, next_tick(now)) >= 0 && !tick_is_taken(wheel, slot)) ||
		!ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	empty = leaf_is_empty(relid);
	UnlockRelationOid(relid, AccessShareLock);
	return empty;
}

bool
wheel_slot_reaches_too_far(const Wheel *wheel, int slot, TimestampTz now)
{
	return wheel->until[slot] > next_tick(now) + (WHEEL_SLOTS - 1) * wheel_tick;
}

/* A slot that can be laid, of those not excluded; or -1. */
static int
misplaced_slot(const Wheel *wheel, TimestampTz now, const bool *excluded)
{
	for (int slot = 0; slot < WHEEL_SLOTS; slot++)
	{
		if (!excluded[slot] && can_be_laid(wheel, slot, now))
			return slot;
	}
	return -1;
}

/* Lock a table or index if the lock is free, and add it to the list. */
static bool
lock_if_free(Oid relid, List **locked)
{
	if (!ConditionalLockRelationOid(relid, AccessExclusiveLock))
		return false;
	*locked = lappend_oid(*locked, relid);
	return true;
}

/* The same for a table that is locked already, and all its indexes. */
static bool
lock_indexes_if_free(Relation table, List **locked)
{
	List	   *indexes = RelationGetIndexList(table);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		if (!lock_if_free(lfirst_oid(cell), locked))
			return false;
	}
	return true;
}

static bool
lock_all_of_leaf(Oid relid, List **locked)
{
	Relation	leaf;
	Oid			toast_relid;
	bool		done;

	if (!lock_if_free(relid, locked))
		return false;
	leaf = table_open(relid, NoLock);
	toast_relid = leaf->rd_rel->reltoastrelid;
	done = lock_indexes_if_free(leaf, locked);
	table_close(leaf, NoLock);

	if (done && OidIsValid(toast_relid))
	{
		Relation	toast;

		if (!lock_if_free(toast_relid, locked))
			return false;
		toast = table_open(toast_relid, NoLock);
		done = lock_indexes_if_free(toast, locked);
		table_close(toast, NoLock);
	}
	return done;
}

/*
 * A turn locks the wheel's table first, and holds both locks to the end of its
 * transaction.  A session that has locked the leaf by hand does not hold the
 * first.
 */
bool
wheel_is_turning(int leaf)
{
	LOCKTAG		tag;
	VirtualTransactionId *holders;
	VirtualTransactionId *turners;
	int			holder_count;
	int			turner_count;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, objects()->leaf[leaf]);
	holders = GetLockConflicts(&tag, AccessShareLock, &holder_count);
	SET_LOCKTAG_RELATION(tag, MyDatabaseId, objects()->wheel);
	turners = GetLockConflicts(&tag, RowExclusiveLock, &turner_count);
	for (int i = 0; i < holder_count; i++)
	{
		for (int j = 0; j < turner_count; j++)
		{
			if (VirtualTransactionIdEquals(holders[i], turners[j]))
				return true;
		}
	}
	return false;
}

/* Unlock a leaf under whose lock nothing was done. */
static void
unlock_leaf(List *locked)
{
	ListCell   *cell;

	foreach(cell, locked)
		UnlockRelationOid(lfirst_oid(cell), AccessExclusiveLock);
	list_free(locked);
}

/*
 * Lock a leaf, to the end of the transaction, for being emptied: all of it at
 * once, or nothing if any part of it is in use.  Never waits.  Returns what was
 * locked, or NIL.
 */
static List *
lock_leaf(int leaf)
{
	Oid			relid = objects()->leaf[leaf];
	LOCKTAG		tag;
	List	   *locked = NIL;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	if (lock_held_by_me(&tag) && !leaf_has_no_page(relid))
		return NIL;
	if (lock_all_of_leaf(relid, &locked))
		return locked;
	unlock_leaf(locked);
	return NIL;
}

/* Empty a locked leaf; returns whether there was anything to empty. */
static bool
empty_leaf(int leaf)
{
	Oid			relid = objects()->leaf[leaf];
	Relation	relation = table_open(relid, NoLock);
	bool		used = RelationGetNumberOfBlocks(relation) > 0;

	/* TRUNCATE would fire a trigger. */
	check_triggers();
	if (used)
		truncate_guts(list_make1(relation), list_make1_oid(relid),
					  RelationIsLogicallyLogged(relation) ? list_make1_oid(relid) : NIL);
	table_close(relation, NoLock);
	return used;
}

/* Replace all rows of the slot in the table with one. */
static void
replace_rows(Relation relation, int number, TimestampTz until)
{
	delete_rows(relation, number);
	insert_row(relation, number, until);
}

/*
 * Lock a leaf for being emptied, in an instant in which no claim has it open.
 * Each claim opens it for some microseconds, and on a busy server nearly
 * always some claim has it open.  The time limit also bounds the wait for a
 * transaction that has written to the leaf.
 */
static List *
lock_between_claims(int leaf)
{
	for (int attempt = 0; attempt < LOCK_ATTEMPTS; attempt++)
	{
		List	   *locked = lock_leaf(leaf);

		if (locked != NIL)
			return locked;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 1L, new_wait_event("IdempotencySlotInUse"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return NIL;
}

/* Lock a slot that is due, and empty it. */
static bool
take_due_slot(int slot, int *cleared)
{
	if (lock_between_claims(slot) == NIL)
		return false;
	if (empty_leaf(slot))
		(*cleared)++;
	return true;
}

/*
 * Lock a slot that is to be laid, if it is empty.  For a slot without a page a
 * lock against writers is enough: claims don't probe it, and choose another
 * slot to write to.
 */
static bool
take_empty_slot(int slot, int *cleared)
{
	Oid			relid = objects()->leaf[slot];
	List	   *locked;

	if (!ConditionalLockRelationOid(relid, ShareRowExclusiveLock))
		return false;
	if (leaf_has_no_page(relid))
		return true;
	UnlockRelationOid(relid, ShareRowExclusiveLock);
	locked = lock_between_claims(slot);
	if (locked == NIL)
		return false;

	/* It may have taken a row before it was locked. */
	if (leaf_is_empty(relid))
		return empty_leaf(slot);
	unlock_leaf(locked);
	return false;
}

/*
 * Give up to the given number of slots another range of time: those that the
 * first function names, one after the other, if the second can lock them.  The
 * locks are owned by the transaction, as its changes are, and not by the
 * portal that runs the caller, which a failing cursor releases earlier.
 */
static int
hand_out_ticks(int (*next_slot) (const Wheel *, TimestampTz, const bool *),
			   bool (*take_slot) (int slot, int *cleared), int most, int *cleared)
{
	bool		tried[WHEEL_SLOTS] = {0};
	int			handed = 0;
	Wheel		wheel;
	TimestampTz now = GetCurrentTimestamp();
	Oid			relid;
	Relation	relation;
	int			slot;
	ResourceOwner caller = CurrentResourceOwner;

	/* In most rounds there is nothing to do, and nothing is locked. */
	wheel_read(&wheel);
	if (next_slot(&wheel, now, tried) < 0)
		return 0;

	relid = objects()->wheel;
	CurrentResourceOwner = CurTransactionResourceOwner;
	if (!ConditionalLockRelationOid(relid, ShareRowExclusiveLock))
	{
		CurrentResourceOwner = caller;
		return 0;
	}
	relation = open_table(NoLock);
	check_triggers();
	read_table(&wheel, true);

	while (handed < most && (slot = next_slot(&wheel, now, tried)) >= 0)
	{
		CHECK_FOR_INTERRUPTS();
		tried[slot] = true;
		if (!take_slot(slot, cleared))
			continue;
		wheel.until[slot] = free_tick(&wheel, next_tick(now));
		replace_rows(relation, slot, wheel.until[slot]);
		turned_by[slot] = GetTopTransactionId();
		CacheInvalidateRelcache(relation);
		CommandCounterIncrement();
		handed++;
	}
	table_close(relation, NoLock);
	CurrentResourceOwner = caller;
	return handed;
}

int
wheel_turn(int most, int *cleared)
{
	return hand_out_ticks(oldest_due, take_due_slot, most, cleared);
}

int
wheel_lay(int most)
{
	return hand_out_ticks(misplaced_slot, take_empty_slot, most, NULL);
}
