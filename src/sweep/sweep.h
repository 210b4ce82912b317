/*-------------------------------------------------------------------------
 *
 * sweep.h
 *	  One round of expiry.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_SWEEP_H
#define IDEMPOTENCY_SWEEP_H

#include "store/store.h"

typedef struct Sweep
{
	int			turns_left;
	int64		rows_left;
	int64		pages_of_leaf;
	int			next_leaf;
	LongWalk	walk;
	bool		distributed_done;	/* no more expired rows in it */

	/* what has been done */
	int			slots_cleared;
	int64		rows_deleted;
} Sweep;

/* A round that deletes no more than the given number of rows. */
extern void sweep_begin(Sweep *sweep, int64 max_rows);

/*
 * Do the next bounded piece of the round, in the current transaction: turn a
 * slot, or delete some rows.  Returns false if the round is over.  The caller
 * needs an active snapshot.
 */
extern bool sweep_step(Sweep *sweep);

#endif							/* IDEMPOTENCY_SWEEP_H */
