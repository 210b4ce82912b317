/*-------------------------------------------------------------------------
 *
 * empty_leaf.h
 *	  Emptying a leaf as a whole, without waiting for it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_EMPTY_LEAF_H
#define IDEMPOTENCY_EMPTY_LEAF_H

#include "nodes/pg_list.h"

/* Whether the leaf has no page.  The caller has locked it. */
extern bool leaf_has_no_page(Oid relid);

/* Whether the leaf has no row, expired or not.  The caller has locked it. */
extern bool leaf_is_empty(Oid relid);

/*
 * Lock a leaf for being emptied, to the end of the transaction, in an instant
 * in which no claim has it open.  Returns what was locked, or NIL if the leaf
 * was in use all the time.
 */
extern List *lock_leaf_between_claims(int leaf);

/* Unlock a leaf under whose lock nothing was done. */
extern void unlock_leaf(List *locked);

/* Empty a locked leaf; returns whether there was anything to empty. */
extern bool empty_leaf(int leaf);

#endif							/* IDEMPOTENCY_EMPTY_LEAF_H */
