/*-------------------------------------------------------------------------
 *
 * wheel.h
 *	  The expiry wheel: which slot holds which keys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_WHEEL_H
#define IDEMPOTENCY_WHEEL_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "objects.h"
#include "utils/relcache.h"

typedef struct Wheel
{
	/*
	 * The time by which all keys of a slot have expired; DT_NOBEGIN for a
	 * slot that has none.
	 */
	TimestampTz until[WHEEL_SLOTS];

	/* No row was ever put into the leaf's present storage. */
	bool		unused[LEAVES];

	uint64		generation;		/* of the tables */
} Wheel;

/*
 * The wheel as of now.  It includes every turn that was committed, and every
 * row that was written under a lock, before the caller took that lock; see
 * wheel.c.
 */
extern void wheel_read(Wheel *wheel);

/*
 * Whether the wheel is still as it was read.  A writer asks once it has locked
 * the leaf that it chose: W6 in wheel.c.
 */
extern bool wheel_is_current(const Wheel *wheel);

/*
 * Announce that a leaf is going to be used, unless it has been used before.
 * Called before a row is put into the leaf, with a RowExclusiveLock on it that
 * is kept to the end of the transaction.
 */
extern void wheel_use_leaf(Relation leaf);

/* The leaf for a key that expires at the given time. */
extern int	wheel_leaf_for(const Wheel *wheel, TimestampTz expires_at);

/* The leaf that reaches further than the given slot, by the least. */
extern int	wheel_leaf_beyond(const Wheel *wheel, int leaf);

/* Whether a leaf may hold a key that has not expired. */
extern bool wheel_leaf_is_live(const Wheel *wheel, int leaf, TimestampTz now);

/* Whether a leaf may hold a key until the given time: invariant W1. */
extern bool wheel_leaf_reaches(const Wheel *wheel, int leaf, TimestampTz expires_at);

/* Whether the slot's upper bound is further ahead than a wheel of the present tick reaches. */
extern bool wheel_slot_reaches_too_far(const Wheel *wheel, int slot, TimestampTz now);

/*
 * Turn up to the given number of slots whose upper bound is past: empty each
 * and hand it the next range of time.  Slots that are in use are left for
 * another round, and so are all slots while another session turns or changes
 * the wheel; it never waits.  Returns the number of slots turned, and adds to
 * *cleared those of them that were not empty.  The slots turned, and the wheel
 * against other changes, stay locked to the end of the transaction.
 */
extern int	wheel_turn(int most, int *cleared);

/*
 * Lay up to the given number of slots that are live and empty, and at none of the
 * next ticks, as after a change of the tick; otherwise as wheel_turn().  A claim
 * that looks into such a slot because it has had rows waits for the end of the
 * transaction.
 */
extern int	wheel_lay(int most);

/*
 * Whether another transaction is turning the slot: it holds ACCESS EXCLUSIVE
 * on the leaf, so that no third transaction has uncommitted rows in it.
 */
extern bool wheel_is_turning(int leaf);

#endif							/* IDEMPOTENCY_WHEEL_H */
