/*-------------------------------------------------------------------------
 *
 * claim_result.h
 *	  The outcome of a claim as a row of type claim_result.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_CLAIM_RESULT_H
#define IDEMPOTENCY_CLAIM_RESULT_H

#include "claim/claim.h"
#include "claim/complete.h"

/* Columns of idempotency.claim_result. */
#define CLAIM_RESULT_COLUMNS	12

/*
 * The outcome as the values of these columns.  completion is the result with
 * which the caller has completed the key since, or NULL.
 */
extern void claim_result_values(const Claim *claim, const Completion *completion,
								Datum *values, bool *isnull);

/* The same as a row of type idempotency.claim_result. */
extern Datum claim_result_datum(const Claim *claim, const Completion *completion);

#endif							/* IDEMPOTENCY_CLAIM_RESULT_H */
