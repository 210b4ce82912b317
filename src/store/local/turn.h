/*-------------------------------------------------------------------------
 *
 * turn.h
 *	  Turning the wheel: slots whose upper bound is past get a later one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_TURN_H
#define IDEMPOTENCY_TURN_H

#include "store/local/wheel.h"

/*
 * Turn up to the given number of slots whose upper bound is past: empty each
 * and give it the next range of time.  Slots that are in use are left for
 * another round, and so are all slots while another session turns or changes
 * the wheel; it never waits.  Returns the number of slots turned, and adds to
 * *cleared those of them that were not empty.  The slots turned, and the wheel
 * against other changes, stay locked to the end of the transaction.
 */
extern int	wheel_turn(int most, int *cleared);

/*
 * Whether another transaction is turning the slot: it holds ACCESS EXCLUSIVE
 * on the leaf, so that no third transaction has uncommitted rows in it.
 */
extern bool wheel_is_turning(int leaf);

/*
 * Give up to the given number of slots another range of time: those that the
 * first function names, one after the other, if the second can lock them.
 * Otherwise as wheel_turn().
 */
extern int	hand_out_ticks(int (*next_slot) (const Wheel *, TimestampTz, const bool *),
						   bool (*take_slot) (int slot, int *cleared),
						   int most, int *cleared);

#endif							/* IDEMPOTENCY_TURN_H */
