/*-------------------------------------------------------------------------
 *
 * wheel.c
 *	  The expiry wheel: which slot holds which keys.
 *
 * Each slot has an until, and no key in it expires later (W1).  A key goes
 * into the slot with the smallest until that is not before its expiry, or,
 * where the wheel does not reach that far, into keys_long (W5).  A slot whose
 * until has passed holds expired keys only: nobody need look there, and it is
 * emptied as a whole and handed a later until.
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
 * call it after taking the key's lock.
 *
 * The table is read with a self snapshot: whatever isolation level the caller
 * runs at, it sees what is committed now, and leaves no predicate lock.  Such
 * a scan may meet both versions of a row that is being replaced, or neither.
 * Both: the later until counts.  Neither: the slot has just been turned, no
 * key that the caller may be looking for is in it, and the turn's message
 * makes the next call read again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "wheel.h"

PG_FUNCTION_INFO_V1(idempotency_wheel_changed);

#define Anum_wheel_slot		1
#define Anum_wheel_until	2

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

void
wheel_read(Wheel *wheel)
{
	AcceptInvalidationMessages();
	while (known_generation != objects_generation())
	{
		/* A message that arrives while the table is read makes it old. */
		uint64		seen = objects_generation();

		read_table(&known);
		known_generation = seen;
	}
	*wheel = known;
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

/*
 * wheel_changed() returns trigger
 *
 * Makes every backend read the wheel again.  A turn sends that message in any
 * case; rows that a restore or a hand puts into the table would not.
 */
Datum
idempotency_wheel_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "not called by trigger manager");
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}
