/*-------------------------------------------------------------------------
 *
 * claim.h
 *	  Claiming a key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_CLAIM_H
#define IDEMPOTENCY_CLAIM_H

#include "key/policy.h"
#include "store/store.h"
#include "store/wait.h"

typedef enum Outcome
{
	OUTCOME_NEW,
	OUTCOME_RECOVERED,
	OUTCOME_REPLAY,
	OUTCOME_IN_PROGRESS,
	OUTCOME_MISMATCH,
	OUTCOME_EXPIRED
} Outcome;

typedef struct Claim
{
	/* in */
	IdempotencyKey key;
	bytea	   *fingerprint;	/* NULL: no request */
	Interval   *ttl;			/* NULL: that of the policy */
	Interval   *lease;			/* NULL: none */
	TimestampTz first_sent;		/* or NO_TIME */
	bool		once;			/* the claim is its own result */
	WaitLimit	limit;
	Policy		policy;

	/* out */
	Outcome		outcome;
	bool		row_known;		/* row has been read or written */
	KeyRow		row;			/* the row that was judged, or the caller's
								 * claim */
	TimestampTz judged_at;
	bool		deferred;		/* it will be written with its result:
								 * deferred.h */
} Claim;

/*
 * Prepare a claim of a key by the rules of its scope's policy, with the
 * policy's ttl, no lease and no request.  Raises IK400 if the key breaks a
 * rule.
 */
extern void claim_init(Claim *claim, text *name, text *scope);

/* Set the lease of the claim, or the policy's lease if it is NULL. */
extern void claim_lease(Claim *claim, Interval *lease);

/* Set the fingerprint of the request; NULL if there is none. */
extern void claim_request(Claim *claim, Jsonb *request);

/*
 * Claim the key: sets the outcome, waiting for a concurrent owner as long as
 * the limit allows.  If the outcome is new or recovered, the caller owns the
 * key, and its row has been written or is deferred.  The store is closed
 * during a wait; the caller closes it afterwards.  Raises IK400 if the policy
 * requires a request and there is none, and IK404 if it requires an issued key
 * and this key was not issued.
 */
extern void claim_key(Claim *claim, Store *store);

#endif							/* IDEMPOTENCY_CLAIM_H */
