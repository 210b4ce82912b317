/*-------------------------------------------------------------------------
 *
 * lay.c
 *	  Laying the wheel: empty slots get the upper bound that they should have.
 *
 * The upper bounds belong at the next eight ticks (tick.c).  A changed tick, a
 * restore, or a clock that was wrong leaves slots elsewhere.  Such a slot is
 * laid at a tick that no other slot has as soon as it is empty, and its upper
 * bound may shrink then.  That is W6: an upper bound shrinks only for a slot
 * that holds no row, under a lock that keeps writers out, and a writer that has
 * locked its leaf verifies that the wheel is still the one by which it chose
 * that leaf:
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

#include "objects.h"
#include "storage/lmgr.h"
#include "store/local/empty_leaf.h"
#include "store/local/lay.h"
#include "store/local/tick.h"
#include "store/local/turn.h"

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
		slot_has_own_tick(wheel, slot, now) ||
		!ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	empty = leaf_is_empty(relid);
	UnlockRelationOid(relid, AccessShareLock);
	return empty;
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
	locked = lock_leaf_between_claims(slot);
	if (locked == NIL)
		return false;

	/* It may have taken a row before it was locked. */
	if (leaf_is_empty(relid))
		return empty_leaf(slot);
	unlock_leaf(locked);
	return false;
}

int
wheel_lay(int most)
{
	return hand_out_ticks(misplaced_slot, take_empty_slot, most, NULL);
}
