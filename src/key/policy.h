/*-------------------------------------------------------------------------
 *
 * policy.h
 *	  The rules for the keys of a scope.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_POLICY_H
#define IDEMPOTENCY_POLICY_H

#include "datatype/timestamp.h"
#include "stats.h"
#include "utils/array.h"

typedef struct Policy
{
	Interval	ttl;
	Interval	lease;			/* zero: none */
	Interval	wait;
	bool		require_request;
	bool		require_issued;
	int			min_key_length; /* bytes */
	Size		max_response_bytes;
	const ArrayType *cache_errors;	/* of text, or NULL; valid as Policy is */
	StatsEntry *stats;			/* counters of the longest scope's policy, or
								 * NULL */
} Policy;

/*
 * The policy of a scope; the settings supply the fields that no policy sets.
 * Changes that were committed before the call are seen.  The result is valid
 * until the next call.
 */
extern void policy_of_scope(Policy *policy, const text *scope);

#endif							/* IDEMPOTENCY_POLICY_H */
