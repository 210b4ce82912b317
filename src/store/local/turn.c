/*-------------------------------------------------------------------------
 *
 * turn.c
 *	  Turning the wheel: slots whose upper bound is past get a later one.
 *
 * W2: a slot is emptied only when its upper bound is past, and never while a
 * claim has it open (empty_leaf.c).
 *
 * A backend that turns the wheel holds a SHARE ROW EXCLUSIVE lock on its table.
 * That keeps out a second sweeper and writers by hand, so that the upper bounds
 * don't change between reading them and emptying a slot.  Claims read the table
 * under ACCESS SHARE and don't wait.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "objects.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "store/local/empty_leaf.h"
#include "store/local/tick.h"
#include "store/local/turn.h"
#include "store/local/wheel_table.h"
#include "utils/inval.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

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

/* Lock a slot that is due, and empty it. */
static bool
take_due_slot(int slot, int *cleared)
{
	if (lock_leaf_between_claims(slot) == NIL)
		return false;
	if (empty_leaf(slot))
		(*cleared)++;
	return true;
}

/*
 * The locks are owned by the transaction, as its changes are, and not by the
 * portal that runs the caller, which a failing cursor releases earlier.
 */
int
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
	relation = wheel_table_open(NoLock);
	check_triggers();
	wheel_table_read(&wheel, true);

	while (handed < most && (slot = next_slot(&wheel, now, tried)) >= 0)
	{
		CHECK_FOR_INTERRUPTS();
		tried[slot] = true;
		if (!take_slot(slot, cleared))
			continue;
		wheel.until[slot] = free_tick(&wheel, now);
		wheel_table_replace(relation, slot, wheel.until[slot]);
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
