/*-------------------------------------------------------------------------
 *
 * complete.h
 *	  Ending a claim with a result.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_COMPLETE_H
#define IDEMPOTENCY_COMPLETE_H

#include "store/hold.h"
#include "store/store.h"

#define NO_ATTEMPT	0

typedef struct Completion
{
	/* in */
	KeyStatus	status;			/* KEY_COMPLETED or KEY_FAILED */
	Jsonb	   *response;		/* may be toasted, as resource_id; or NULL */
	text	   *resource_id;
	int32		status_code;	/* or NO_STATUS_CODE */
	int32		attempt;		/* or NO_ATTEMPT: claimed in this transaction */
	Interval   *ttl;			/* NULL: that of the claim */

	/* out */
	TimestampTz completed_at;
	TimestampTz expires_at;
} Completion;

/*
 * Store the result of the caller's claim.  Completing again with the same
 * result changes nothing, and waits as a replay does (durable_replay.h).  Raises
 * IK404 if there is no claim to complete, IK413 if the response is too large,
 * IK423 if the attempt was superseded, and IK428 if the attempt is required and
 * missing.  The store is closed during a wait; the caller closes it afterwards.
 */
extern void complete_key(const IdempotencyKey *key, Completion *completion,
						 Store *store);

/*
 * Release a claim that has ended: its result is dropped, and the key can be
 * claimed again.  Does nothing if the attempt has been superseded.
 * Returns false if the limit ran out before another transaction that works on
 * the key has ended.
 */
extern bool reopen_key(const IdempotencyKey *key, int32 attempt, Store *store,
					   const WaitLimit *limit);

/* Returns the value if it is valid; raises IK400 otherwise. */
extern int32 checked_attempt(int32 attempt);
extern int32 checked_status_code(int32 status_code);

/*
 * Change a held row to a released one.  It keeps only the attempt, and
 * lease_until if an owner may still return (remove.c).
 */
extern void write_released(HeldKey *held, TimestampTz lease_until);

#endif							/* IDEMPOTENCY_COMPLETE_H */
