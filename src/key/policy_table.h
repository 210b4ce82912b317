/*-------------------------------------------------------------------------
 *
 * policy_table.h
 *	  The policies as they are stored.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_POLICY_TABLE_H
#define IDEMPOTENCY_POLICY_TABLE_H

#include "executor/tuptable.h"

/* The columns, which are also the arguments of set_policy(). */
enum
{
	POLICY_SCOPE,
	POLICY_TTL,
	POLICY_LEASE,
	POLICY_WAIT,
	POLICY_REQUIRE_REQUEST,
	POLICY_REQUIRE_ISSUED,
	POLICY_MIN_KEY_LENGTH,
	POLICY_MAX_RESPONSE_BYTES,
	POLICY_CACHE_ERRORS,
	POLICY_COLUMNS
};

/*
 * Call keep with each stored row, whose columns have been checked.  Changes
 * that have been committed are seen.
 */
extern void read_policies(void (*keep) (TupleTableSlot *tts));

/*
 * Give all nodes of a Citus cluster the policies in this node's table.  To be
 * called on the coordinator, at each change of the table.
 */
extern void publish_policies(void);

/* Let each node read its own table again. */
extern void unpublish_policies(void);

#endif							/* IDEMPOTENCY_POLICY_TABLE_H */
