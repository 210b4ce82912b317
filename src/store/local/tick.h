/*-------------------------------------------------------------------------
 *
 * tick.h
 *	  The ticks of the wheel: where the upper bounds of its slots belong.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_TICK_H
#define IDEMPOTENCY_TICK_H

#include "store/local/wheel.h"

/* Whether the slot is at one of the next ticks, and no slot before it is. */
extern bool slot_has_own_tick(const Wheel *wheel, int slot, TimestampTz now);

/* Whether the slot's upper bound is further ahead than a wheel of the present tick reaches. */
extern bool slot_reaches_too_far(const Wheel *wheel, int slot, TimestampTz now);

/*
 * The earliest of the next ticks that no slot is at.  There is such a tick for
 * each slot that has none of its own.
 */
extern TimestampTz free_tick(const Wheel *wheel, TimestampTz now);

#endif							/* IDEMPOTENCY_TICK_H */
