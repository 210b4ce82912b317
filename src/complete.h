/*-------------------------------------------------------------------------
 *
 * complete.h
 *	  Ending a claim, for callers in C.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_COMPLETE_H
#define IDEMPOTENCY_COMPLETE_H

#include "keylock.h"
#include "store.h"

/* What a claim came to. */
typedef struct Result
{
	KeyStatus	status;			/* completed or failed */
	Jsonb	   *response;		/* or NULL */
	text	   *resource_id;	/* or NULL */
	int32		status_code;	/* or NO_STATUS_CODE */
} Result;

/* The claim was made in the current transaction; its attempt may be left out. */
#define NO_ATTEMPT	0

/*
 * Store the result of a claim.  A ttl of NULL is as the claim and the policy
 * say.  Raises what complete() does.
 */
extern void end_claim(const IdempotencyKey *key, const Result *result,
					  int32 attempt, const Interval *ttl);

/*
 * Release a claim that has ended: the key can be claimed again, its result is
 * dropped.  Nothing happens where the attempt is not the present one any more.
 * Returns false where the limit ran out before another transaction's work on
 * the key came to its end.
 */
extern bool reopen_claim(const IdempotencyKey *key, int32 attempt,
						 const WaitLimit *limit);

#endif							/* IDEMPOTENCY_COMPLETE_H */
