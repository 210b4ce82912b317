/*-------------------------------------------------------------------------
 *
 * durable_replay.h
 *	  Replays wait for synchronous standbys, as commits do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_DURABLE_REPLAY_H
#define IDEMPOTENCY_DURABLE_REPLAY_H

#include "store/keyrow.h"

/*
 * Whether a row that was read may be replayed without a wait: no standby is
 * required, or they are known to have confirmed it, or the current transaction
 * has written it.
 */
extern bool replay_is_durable(const KeyRow *row);

/*
 * Wait until the standbys have confirmed all WAL that has been flushed so far.
 * The caller should hold no lock and no open table.
 */
extern void wait_for_standbys(void);

#endif							/* IDEMPOTENCY_DURABLE_REPLAY_H */
