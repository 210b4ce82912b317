/*-------------------------------------------------------------------------
 *
 * claim.h
 *	  Claiming a key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_CLAIM_H
#define IDEMPOTENCY_CLAIM_H

#include "store/keylock.h"
#include "key/policy.h"
#include "store/store.h"

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
	Interval   *ttl;			/* NULL: as the policy says */
	Interval   *lease;			/* NULL: none */
	TimestampTz first_sent;		/* or NO_TIME */
	bool		once;			/* to have claimed it is the result */
	WaitLimit	limit;
	Policy		policy;

	/* out */
	Outcome		outcome;
	bool		row_known;		/* row is what the outcome was judged by */
	KeyRow		row;			/* or, where the caller owns the key, its
								 * claim */
	TimestampTz judged_at;
	bool		deferred;		/* it is written with its result: deferred.h */

	/* What the caller has completed the key with since, where it has. */
	const struct Completion *completion;
} Claim;

/*
 * Prepare a claim of a key by the rules of its scope's policy, with the
 * policy's ttl, no lease and no request.  Raises IK400 where the key breaks a rule.
 */
extern void claim_init(Claim *claim, text *name, text *scope);

/* Let the claim have the lease given or, where that is NULL, the policy's. */
extern void claim_lease(Claim *claim, Interval *lease);

/* Set the fingerprint of the request, NULL for none. */
extern void claim_request(Claim *claim, Jsonb *request);

/*
 * Claim the key: sets the outcome, waiting for a concurrent owner as long as
 * the limit allows.  Where the outcome is new or recovered, the caller owns
 * the key and the row has been written, or it is deferred.  The store is closed for the time of a wait; the caller closes
 * it in the end.  Raises IK400 where the policy asks
 * for a request and IK404 where it asks for an issued key.
 */
extern void claim_key(Claim *claim, Store *store);

/* Columns of idempotency.claim_result. */
#define CLAIM_RESULT_COLUMNS	12

/* The outcome as the values of these columns. */
extern void claim_result_values(const Claim *claim, Datum *values, bool *isnull);

/* The outcome as a row of type idempotency.claim_result. */
extern Datum claim_result_datum(const Claim *claim);

#endif							/* IDEMPOTENCY_CLAIM_H */
