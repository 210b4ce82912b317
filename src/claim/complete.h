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
#include "key/policy.h"
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
	Interval   *ttl;			/* NULL: as the claim said */

	/* out */
	TimestampTz completed_at;
	TimestampTz expires_at;
} Completion;

/*
 * Store the result of the caller's claim.  Completing again with the same
 * result changes nothing.  Raises IK404 where there is no claim to complete,
 * IK413 where the response is too large, IK423 where the attempt was
 * superseded, IK428 where the attempt is needed and missing.  The store is
 * closed for the time of a wait; the caller closes it in the end.
 */
extern void complete_key(const IdempotencyKey *key, Completion *completion,
						 Store *store);

/*
 * Release a claim that has ended: the key can be claimed again, its result is
 * dropped.  Nothing happens where the attempt is not the present one any more.
 * Returns false where the limit ran out before another transaction's work on
 * the key came to its end.
 */
extern bool reopen_key(const IdempotencyKey *key, int32 attempt, Store *store,
					   const WaitLimit *limit);

/* The value, if it is a possible one; raises IK400 otherwise. */
extern int32 checked_attempt(int32 attempt);
extern int32 checked_status_code(int32 status_code);

/*
 * Make a held row one that can be claimed again; only the attempt is kept, and
 * lease_until if the owner may not know (remove.c).
 */
extern void write_released(HeldKey *held, TimestampTz lease_until);

#endif							/* IDEMPOTENCY_COMPLETE_H */
