/*-------------------------------------------------------------------------
 *
 * expire.h
 *	  Expiry in the local store.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_EXPIRE_H
#define IDEMPOTENCY_EXPIRE_H

#include "executor/tuptable.h"
#include "storage/block.h"
#include "utils/relcache.h"

struct Expiry;

/*
 * A walk through part of a leaf that deletes expired rows.  It begins at a random
 * page, and can be paused and resumed in another transaction.
 */
typedef struct LongWalk
{
	int			leaf;
	bool		begun;
	BlockNumber next;
	BlockNumber pages_left;		/* zero: the walk is over */

	/* Between resume and pause. */
	Relation	heap;
	struct TableScanDescData *scan;
	TupleTableSlot *tts;
	BlockNumber end;
	bool		deleted;
} LongWalk;

/* How far a round of expiry has come in the local store. */
typedef struct LocalExpiry
{
	int			turns_left;
	int			next_leaf;
	BlockNumber pages_of_leaf;
	LongWalk	walk;
} LocalExpiry;

/* The share of the local store in store_begin_expiry(). */
extern void local_begin_expiry(LocalExpiry *expiry, int64 max_rows);

/* The share of the local store in store_expire(). */
extern bool local_expire(struct Expiry *expiry);

#endif							/* IDEMPOTENCY_EXPIRE_H */
