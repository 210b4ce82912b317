/*-------------------------------------------------------------------------
 *
 * policy.h
 *	  What holds for the keys of a scope.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_POLICY_H
#define IDEMPOTENCY_POLICY_H

#include "datatype/timestamp.h"

typedef struct Policy
{
	Interval	ttl;
	Interval	lease;
	Interval	wait;
	Size		max_response_bytes;
} Policy;

/* The policy of a scope: where nothing says otherwise, the settings. */
extern void policy_of_scope(Policy *policy, const text *scope);

#endif							/* IDEMPOTENCY_POLICY_H */
