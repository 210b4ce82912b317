/*-------------------------------------------------------------------------
 *
 * wheel.c
 *	  The expiry wheel: which slot holds which keys, and its turning.
 *
 * Each slot has an until, and no key in it expires later (W1).  A key goes
 * into the slot with the smallest until that is not before its expiry, or,
 * where the wheel does not reach that far, into keys_long (W5).  A slot whose
 * until has passed holds expired keys only, and is emptied as a whole and
 * handed a later until.
 *
 * What a backend believes about the wheel is kept between calls, and is
 * dropped by the relcache message that a turn sends.  W3 asks that a claim
 * that finds nothing believes nothing older than its key lock:
 *
 *		turn of slot S				earlier claim of K			this claim of K
 *		lock S, empty it,
 *		  set its until
 *		commit, send messages,
 *		  let go of S
 *									lock K
 *									lock S, insert K into S
 *									let go of K
 *																lock K
 *																accept messages,
 *																read the wheel,
 *																probe S
 *
 * The earlier claim can insert into the new S only after the turn has let go
 * of it, and so after the turn's messages were sent.  This claim has K's lock
 * after that, so wheel_read() accepts the messages and reads the new until.
 * That is why the messages are accepted here, on every call, and why callers
 * call it after taking the key's lock.  It is also why a turn locks a slot
 * that is empty already, and sends a message of its own: TRUNCATE sends one
 * only where there was something to empty.
 *
 * A leaf that nobody has used yet is not looked into.  Most slots of a wheel
 * are such, and opening and measuring them all would cost a claim as much as
 * the rest of it.  Here W3 asks that a leaf believed unused is one in which no
 * earlier claim of K has put a row:
 *
 *		first use of leaf S				finding out what is unused
 *		lock the wheel for first use
 *		send a message to all
 *		add an empty page to S
 *		unlock the wheel				lock the wheel against first use
 *										  (waits here while another has it)
 *		insert K into S,				measure S
 *		let go of K's lock				unlock the wheel
 *
 * The message is not left for the commit, but sent at once: the row counts
 * before it is committed.  Whoever takes K's lock after the earlier claim
 * accepts the message with it, and measures again; measuring meets either the
 * page, or no page and a message still to come.  So no leaf grows from no page
 * to one but in wheel_use_leaf(), for which it is not enough to have believed
 * the leaf in use: VACUUM may have cut off all its pages since.  A crash leaves
 * nothing that is believed.  A standby is not sent such messages, and believes
 * every leaf used.
 *
 * The table is read with a self snapshot: whatever isolation level the caller
 * runs at, it sees what is committed now, and leaves no predicate lock.  Such
 * a scan may meet both versions of a row that is being replaced, or neither.
 * Both: the later until counts.  Neither: the slot has just been turned, no
 * key that the caller may be looking for is in it, and the turn's message
 * makes the next call read again.
 *
 * Turning.  W2: a slot is emptied only when its until is past, under an
 * ACCESS EXCLUSIVE lock on its table, toast table and indexes, each taken only
 * if it is free.  A lock request that waited would make every later claim
 * that looks into the slot wait behind it.  So would one that waited for a
 * toast table which autovacuum is at, while the slot itself is locked already.
 * A slot that this transaction has used itself is busy like any other: its
 * lock would be granted, but over the head of rows not yet committed.
 *
 * Whoever turns the wheel holds a SHARE ROW EXCLUSIVE lock on its table.  That
 * keeps out a second sweeper, and writers by hand: the untils stand still
 * from reading them to emptying a slot.  Claims read the table under ACCESS
 * SHARE and are not kept waiting.
 *
 * An until only ever grows.  A claim that has read the wheel before a turn,
 * and writes into the slot after it, believes in an earlier until than the
 * slot has, which keeps W1; were the until to shrink, it would break it.  Who
 * changes the table by hand must know that no claim is running, and that the
 * slot is empty.
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
#include "commands/trigger.h"
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
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "store/keyrow.h"
#include "store/local/wheel.h"

/* How often, a millisecond apart, a slot is tried before the next round. */
#define LOCK_ATTEMPTS		100

#define Anum_wheel_slot		1
#define Anum_wheel_until	2
#define Natts_wheel			2

PG_FUNCTION_INFO_V1(idempotency_use_leaf);

static Wheel known;
static uint64 known_generation = 0;

static void
read_table(Wheel *wheel)
{
	Relation	relation = table_open(objects()->wheel, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	TableScanDesc scan = begin_table_scan(relation, SnapshotSelf);

	for (int i = 0; i < WHEEL_SLOTS; i++)
		wheel->until[i] = DT_NOBEGIN;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		int16		number = DatumGetInt16(slot_getattr(slot, Anum_wheel_slot, &isnull));
		TimestampTz until = DatumGetTimestampTz(slot_getattr(slot, Anum_wheel_until, &isnull));

		if (until > wheel->until[number])
			wheel->until[number] = until;
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, AccessShareLock);
}

/*
 * The lock that orders first use and measuring.  It is held for a moment, and
 * nobody waits for anything but a page under it.
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
	if (known_generation != objects_generation())
	{
		/* A message that arrives meanwhile makes the next call read again. */
		uint64		seen = objects_generation();

		read_table(&known);
		find_unused(&known);
		known_generation = seen;
	}
	*wheel = known;
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
	/* A page that is remembered as having room is one. */
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
 *		Turning
 * ----------------------------------------------------------------
 */

/* The slot whose until is past for the longest, of those not excluded; or -1. */
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

/*
 * The until of the next range: one tick after the last.  Where the wheel has
 * stood still, the ticks go on being counted from the last until, and the
 * first one that is not past is taken.  Where there is no last until, they
 * are counted from midnight UTC.  An until at the end of time is none to
 * count from.
 */
static TimestampTz
next_until(const Wheel *wheel, TimestampTz now)
{
	TimestampTz last = DT_NOBEGIN;

	for (int slot = 0; slot < WHEEL_SLOTS; slot++)
	{
		if (wheel->until[slot] < END_TIMESTAMP - wheel_tick)
			last = Max(last, wheel->until[slot]);
	}
	if (last == DT_NOBEGIN)
		last = now - now % wheel_tick;
	else if (last < now)
		last += (now - last) / wheel_tick * wheel_tick;
	return last + wheel_tick;
}

/* Lock a table or index if that is possible at once, and note that it is. */
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

List *
wheel_lock_leaf(int leaf)
{
	Oid			relid = objects()->leaf[leaf];
	LOCKTAG		tag;
	List	   *locked = NIL;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	if (lock_held_by_me(&tag))
		return NIL;
	if (lock_all_of_leaf(relid, &locked))
		return locked;
	wheel_unlock_leaf(locked);
	return NIL;
}

void
wheel_unlock_leaf(List *locked)
{
	ListCell   *cell;

	foreach(cell, locked)
		UnlockRelationOid(lfirst_oid(cell), AccessExclusiveLock);
	list_free(locked);
}

bool
wheel_empty_leaf(int leaf)
{
	Oid			relid = objects()->leaf[leaf];
	Relation	relation = table_open(relid, NoLock);
	bool		used = RelationGetNumberOfBlocks(relation) > 0;

	if (used)
		truncate_guts(list_make1(relation), list_make1_oid(relid),
					  RelationIsLogicallyLogged(relation) ? list_make1_oid(relid) : NIL);
	table_close(relation, NoLock);
	return used;
}

/* Put one row in the place of all that the slot has in the table. */
static void
replace_rows(Relation relation, int number, TimestampTz until)
{
	TupleTableSlot *old = table_slot_create(relation, NULL);
	TupleTableSlot *new = MakeSingleTupleTableSlot(RelationGetDescr(relation),
												   &TTSOpsVirtual);
	TableScanDesc scan = begin_table_scan(relation, SnapshotSelf);

	while (table_scan_getnextslot(scan, ForwardScanDirection, old))
	{
		bool		isnull;

		if (DatumGetInt16(slot_getattr(old, Anum_wheel_slot, &isnull)) == number)
			simple_table_tuple_delete(relation, &old->tts_tid, InvalidSnapshot);
	}
	table_endscan(scan);

	memset(new->tts_isnull, false, Natts_wheel * sizeof(bool));
	new->tts_values[Anum_wheel_slot - 1] = Int16GetDatum(number);
	new->tts_values[Anum_wheel_until - 1] = TimestampTzGetDatum(until);
	ExecStoreVirtualTuple(new);
	table_tuple_insert(relation, new, GetCurrentCommandId(true), 0, NULL);
	ExecDropSingleTupleTableSlot(new);
	ExecDropSingleTupleTableSlot(old);
}

/*
 * Lock a leaf for being emptied, in an instant in which no claim looks into it.
 * Claims do so for some microseconds each, and on a busy server one of them
 * nearly always; a transaction that has written to the leaf is not waited for
 * longer than they are.
 */
static bool
lock_between_claims(int leaf)
{
	for (int attempt = 0; attempt < LOCK_ATTEMPTS; attempt++)
	{
		if (wheel_lock_leaf(leaf) != NIL)
			return true;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 1L, new_wait_event("IdempotencySlotInUse"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

int
wheel_turn(int most, int *cleared)
{
	bool		tried[WHEEL_SLOTS] = {0};
	int			turned = 0;
	Wheel		wheel;
	TimestampTz now = GetCurrentTimestamp();
	Oid			relid;
	Relation	relation;
	int			slot;

	/* In most rounds no slot is due, and nothing is locked. */
	wheel_read(&wheel);
	if (oldest_due(&wheel, now, tried) < 0)
		return 0;

	relid = objects()->wheel;
	if (!ConditionalLockRelationOid(relid, ShareRowExclusiveLock))
		return 0;
	relation = table_open(relid, NoLock);
	read_table(&wheel);

	while (turned < most && (slot = oldest_due(&wheel, now, tried)) >= 0)
	{
		CHECK_FOR_INTERRUPTS();
		tried[slot] = true;
		if (!lock_between_claims(slot))
			continue;
		if (wheel_empty_leaf(slot))
			(*cleared)++;
		wheel.until[slot] = next_until(&wheel, now);
		replace_rows(relation, slot, wheel.until[slot]);
		CacheInvalidateRelcache(relation);
		CommandCounterIncrement();
		turned++;
	}
	table_close(relation, NoLock);
	return turned;
}
