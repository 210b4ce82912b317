/*-------------------------------------------------------------------------
 *
 * wheel.c
 *	  The expiry wheel: which slot holds which keys.
 *
 * Each slot has an upper bound, and no key in it expires later (W1).  A key goes
 * into the slot with the smallest upper bound that is not before its expiry, or,
 * if the wheel does not reach that far, into keys_long (W5).  A slot whose upper
 * bound has passed holds expired keys only; it is emptied as a whole and handed
 * a later upper bound (turn.c).
 *
 * A backend keeps what it knows of the wheel between calls, and drops it when it
 * receives the relcache message that a turn sends.  W3: a claim that finds
 * nothing relies on nothing older than its key lock:
 *
 *		turn of slot S				earlier claim of K			this claim of K
 *		lock S, empty it,
 *		  set its upper bound
 *		commit, send messages,
 *		  unlock S
 *									lock K
 *									lock S, insert K into S
 *									unlock K
 *																lock K
 *																accept messages,
 *																read the wheel,
 *																probe S
 *
 * The earlier claim can insert into the new S only after the turn has unlocked
 * it, and so after the messages of the turn were sent.  This claim has K's lock
 * after that, so wheel_read() accepts the messages and reads the new upper bound.
 * For this reason wheel_read() accepts messages on every call, and callers call
 * it after they have locked the key.  For the same reason a turn locks a slot
 * that is empty already, and sends a message of its own: TRUNCATE sends one only
 * if there was something to empty.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "objects.h"
#include "store/local/first_use.h"
#include "store/local/wheel.h"
#include "store/local/wheel_table.h"
#include "utils/inval.h"

/* Its generation is 0 before the wheel is read for the first time. */
static Wheel known;

void
wheel_read(Wheel *wheel)
{
	AcceptInvalidationMessages();
	if (!wheel_is_current(&known))
	{
		/* If a message arrives meanwhile, the next call reads again. */
		uint64		seen = objects_generation();

		wheel_table_read(&known, false);
		find_unused_leaves(&known);
		known.generation = seen;
	}
	*wheel = known;
}

bool
wheel_is_current(const Wheel *wheel)
{
	return wheel->generation == objects_generation();
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

int
wheel_leaf_beyond(const Wheel *wheel, int leaf)
{
	TimestampTz until = wheel->until[leaf];

	return until == DT_NOEND ? LEAF_LONG : wheel_leaf_for(wheel, until + 1);
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
