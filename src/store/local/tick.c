/*-------------------------------------------------------------------------
 *
 * tick.c
 *	  The ticks of the wheel: where the upper bounds of its slots belong.
 *
 * They belong at the next eight ticks.  Each database has ticks at other times, so
 * that not all databases turn at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "guc.h"
#include "miscadmin.h"
#include "store/local/tick.h"

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

TimestampTz
free_tick(const Wheel *wheel, TimestampTz now)
{
	TimestampTz first = next_tick(now);
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

bool
slot_reaches_too_far(const Wheel *wheel, int slot, TimestampTz now)
{
	return wheel->until[slot] > next_tick(now) + (WHEEL_SLOTS - 1) * wheel_tick;
}

bool
slot_has_own_tick(const Wheel *wheel, int slot, TimestampTz now)
{
	return tick_of_slot(wheel, slot, next_tick(now)) >= 0 && !tick_is_taken(wheel, slot);
}
