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
 * the leaf that it chose: W6 in lay.c.
 */
extern bool wheel_is_current(const Wheel *wheel);

/* The leaf for a key that expires at the given time. */
extern int	wheel_leaf_for(const Wheel *wheel, TimestampTz expires_at);

/* The leaf that reaches further than the given slot, by the least. */
extern int	wheel_leaf_beyond(const Wheel *wheel, int leaf);

/* Whether a leaf may hold a key that has not expired. */
extern bool wheel_leaf_is_live(const Wheel *wheel, int leaf, TimestampTz now);

/* Whether a leaf may hold a key until the given time: invariant W1. */
extern bool wheel_leaf_reaches(const Wheel *wheel, int leaf, TimestampTz expires_at);

#endif							/* IDEMPOTENCY_WHEEL_H */
