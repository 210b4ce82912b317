/*-------------------------------------------------------------------------
 *
 * durable_replay.h
 *	  Replays wait for synchronous standbys, as commits do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_DURABLE_REPLAY_H
#define IDEMPOTENCY_DURABLE_REPLAY_H

#include "store/store.h"

/*
 * Whether a row that was read may be replayed as it is: no standby is asked for,
 * or they are known to have confirmed it, or it is the current transaction's own.
 */
extern bool replay_is_durable(const KeyRow *row);

/*
 * Wait until the standbys have confirmed all that has been flushed so far.
 * Nothing should be locked or held open meanwhile.
 */
extern void wait_for_standbys(void);

#endif							/* IDEMPOTENCY_DURABLE_REPLAY_H */
