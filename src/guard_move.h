/*-------------------------------------------------------------------------
 *
 * guard_move.h
 *	  Rows that move to another partition.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_GUARD_MOVE_H
#define IDEMPOTENCY_GUARD_MOVE_H

#include "commands/trigger.h"
#include "keyname.h"
#include "lib/ilist.h"

/* The row that a statement has deleted last. */
typedef struct DeletedRow
{
	bool		has_key;
	pg_uuid_t	hash;			/* of its key */
	dlist_node	node;
} DeletedRow;

/*
 * Have what is remembered in *row known to was_just_deleted() for as long as the
 * memory context lives.  *row lives as long.
 */
extern void watch_deletions(DeletedRow *row, MemoryContext context);

/*
 * Whether the row that is being inserted is one that the running statement
 * has just deleted, by what was remembered.
 */
extern bool was_just_deleted(const IdempotencyKey *key);

/*
 * The same, by what the partitions hold, where the BEFORE DELETE trigger that
 * would remember is missing.
 */
extern bool has_left_other_partition(const TriggerData *trigger, Oid root,
									 const IdempotencyKey *key);

#endif							/* IDEMPOTENCY_GUARD_MOVE_H */
