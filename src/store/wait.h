/*-------------------------------------------------------------------------
 *
 * wait.h
 *	  Waits with a limit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_WAIT_H
#define IDEMPOTENCY_WAIT_H

#include "datatype/timestamp.h"
#include "portability/instr_time.h"
#include "stats.h"
#include "storage/lock.h"

/* How long one call may wait, over all its waits. */
typedef struct WaitLimit
{
	bool		limited;
	int64		allowed_ms;
	instr_time	begun;
} WaitLimit;

/* Limited only by the session's own lock_timeout and statement_timeout. */
extern void wait_unlimited(WaitLimit *limit);

/* A limit that begins now.  The interval is not negative. */
extern void wait_at_most(WaitLimit *limit, const Interval *interval);

/*
 * Take a lock, on behalf of the current (sub)transaction.  Returns false if the
 * limit, or the given time if that is longer, ran out first; the transaction is
 * then as it was.  The wait is counted, however it ends.
 */
extern bool wait_for_lock(const LOCKTAG *tag, LOCKMODE mode, const WaitLimit *limit,
						  int least_ms, StatsEntry *stats);

/*
 * Wait for the end of a transaction, or of a subtransaction that is rolled
 * back; one that is released lasts as long as its parent.  Returns false if the
 * limit ran out first.  The wait is counted, however it ends.
 */
extern bool wait_for_transaction(TransactionId xid, const WaitLimit *limit,
								 StatsEntry *stats);

/*
 * Do work that may wait for locks.  The wait for each lock may take what is
 * left of the limit, or the given minimum if that is longer; with a minimum of
 * zero there is no wait if nothing is left.  Returns false if a wait ran out
 * of time: the work was done in a subtransaction and is undone, and the
 * transaction is as it was.  If the session's own lock_timeout is shorter, it
 * ends the work with its usual error.
 */
extern bool run_within(const WaitLimit *limit, int least_ms,
					   void (*work) (void *argument), void *argument);

#endif							/* IDEMPOTENCY_WAIT_H */
