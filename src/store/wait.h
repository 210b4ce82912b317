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

/* No limit but the session's own lock_timeout and statement_timeout. */
extern void wait_unlimited(WaitLimit *limit);

/* A limit that begins to run now.  The interval is not negative. */
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
 * back; one that is not rolled back lasts as long as its transaction.  Returns
 * false if the limit ran out first.  The wait is counted, however it ends.
 */
extern bool wait_for_transaction(TransactionId xid, const WaitLimit *limit,
								 StatsEntry *stats);

/*
 * Do work that may wait for locks, each for no longer than what is left of the
 * limit, but for no less than the given time; zero: not at all if nothing is
 * left.  Returns false if that ran out: the work is undone, in a subtransaction,
 * and the transaction as it was.  The session's own lock_timeout, if it is the
 * shorter, ends the work with its own error, as it would end any other.
 */
extern bool run_within(const WaitLimit *limit, int least_ms,
					   void (*work) (void *argument), void *argument);

#endif							/* IDEMPOTENCY_WAIT_H */
