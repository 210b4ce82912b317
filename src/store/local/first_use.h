/*-------------------------------------------------------------------------
 *
 * first_use.h
 *	  Which leaves have never been used, and the first use of one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_FIRST_USE_H
#define IDEMPOTENCY_FIRST_USE_H

#include "store/local/wheel.h"

/*
 * Find out which leaves have never been used.  A leaf that is locked, by a turn
 * for instance, counts as used.
 */
extern void find_unused_leaves(Wheel *wheel);

/*
 * Announce that a leaf is going to be used, unless it has been used before.
 * Called before a row is put into the leaf, with a RowExclusiveLock on it that
 * is kept to the end of the transaction.
 */
extern void use_leaf(Relation leaf);

#endif							/* IDEMPOTENCY_FIRST_USE_H */
