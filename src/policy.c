/*-------------------------------------------------------------------------
 *
 * policy.c
 *	  What holds for the keys of a scope.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "policy.h"

void
policy_of_scope(Policy *policy, const text *scope)
{
	policy->ttl = default_ttl;
	policy->lease = default_lease;
	policy->wait = default_wait;
	policy->max_response_bytes = (Size) max_response_size * 1024;
}
