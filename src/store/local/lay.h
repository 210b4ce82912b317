/*-------------------------------------------------------------------------
 *
 * lay.h
 *	  Laying the wheel: empty slots get the upper bound that they should have.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_LAY_H
#define IDEMPOTENCY_LAY_H

/*
 * Lay up to the given number of slots that are live and empty, and at none of the
 * next ticks, as after a change of the tick; otherwise as wheel_turn().  A claim
 * that looks into such a slot because it has had rows waits for the end of the
 * transaction.
 */
extern int	wheel_lay(int most);

#endif							/* IDEMPOTENCY_LAY_H */
