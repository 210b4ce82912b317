/*-------------------------------------------------------------------------
 *
 * hold.h
 *	  A key under its lock, with nobody else at work on it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_HOLD_H
#define IDEMPOTENCY_HOLD_H

#include "store/keylock.h"
#include "key/policy.h"
#include "store/store.h"

typedef struct HeldKey
{
	IdempotencyKey key;
	Policy		policy;
	Store	   *store;
	TimestampTz now;
	bool		found;
	KeyRow		row;
} HeldKey;

/*
 * Lock the key and find its latest version, waiting for the end of any other
 * transaction that has written it, as long as the session's timeouts allow.
 * The store is closed for the time of a wait.  Raises IK400 for a key that
 * can't have been claimed.
 */
extern void hold_key(HeldKey *held, const IdempotencyKey *key, Store *store);

/* The same within a limit; false, with nothing held, where it ran out first. */
extern bool hold_key_within(HeldKey *held, const IdempotencyKey *key, Store *store,
							const WaitLimit *limit);

/*
 * Write the row that was found, as the caller has changed it, and let go.
 * Raises UNIQUE_VIOLATION where a row was put there by hand meanwhile.
 */
extern void write_held_key(HeldKey *held);

/* Let go of the key as it is. */
extern void unlock_held_key(const HeldKey *held);

#endif							/* IDEMPOTENCY_HOLD_H */
