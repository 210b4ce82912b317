/*-------------------------------------------------------------------------
 *
 * hold.h
 *	  A key under its lock, while no other transaction works on it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_HOLD_H
#define IDEMPOTENCY_HOLD_H

#include "key/policy.h"
#include "store/store.h"
#include "store/wait.h"

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
 * Lock the key and find its latest version.  Waits for the end of any other
 * transaction that has written it, as long as the session's timeouts allow.
 * The store is closed during a wait.  Raises IK400 for a key that can't have
 * been claimed.
 */
extern void hold_key(HeldKey *held, const IdempotencyKey *key, Store *store);

/* The same within a limit; false, with nothing held, if the limit ran out. */
extern bool hold_key_within(HeldKey *held, const IdempotencyKey *key, Store *store,
							const WaitLimit *limit);

/*
 * Write the row that was found, as the caller has changed it, and unlock the
 * key.  Raises UNIQUE_VIOLATION if a row was inserted by hand meanwhile.
 */
extern void write_held_key(HeldKey *held);

/* Unlock the key without a change. */
extern void unlock_held_key(const HeldKey *held);

#endif							/* IDEMPOTENCY_HOLD_H */
