/*-------------------------------------------------------------------------
 *
 * keylock.h
 *	  The lock of a key, and waits with a limit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_KEYLOCK_H
#define IDEMPOTENCY_KEYLOCK_H

#include "datatype/timestamp.h"
#include "key/keyname.h"
#include "portability/instr_time.h"
#include "stats.h"

/*
 * The class of our advisory locks: pg_locks.objsubid.  1 and 2 belong to the
 * SQL functions, 4 to 31 to other extensions.
 */
#define KEYLOCK_CLASS	18756

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

/* Take the key's lock if it is free. */
extern bool keylock_try(const IdempotencyKey *key);

/*
 * Take the key's lock.  Returns false where the limit ran out first; the
 * transaction is then as it was.  The wait is counted, however it ends.
 */
extern bool keylock_wait(const IdempotencyKey *key, const WaitLimit *limit,
						 StatsEntry *stats);

/* Let it go again; by the (sub)transaction that took it. */
extern void keylock_release(const IdempotencyKey *key);

/*
 * Wait for the end of a transaction, or of a subtransaction that is rolled
 * back.  Returns false where the limit ran out first.  The wait is counted,
 * however it ends.
 */
extern bool wait_for_transaction(TransactionId xid, const WaitLimit *limit,
								 StatsEntry *stats);

/*
 * Do work that may wait for locks, with lock_timeout at what is left of the
 * limit, but for no less than the given time; zero: not at all where nothing is
 * left.  Returns false where that ran out: the work is undone, in a subtransaction,
 * and the transaction as it was.  The session's own lock_timeout, where it is the
 * shorter, ends the work with its own error, as it would end any other.
 */
extern bool run_within(const WaitLimit *limit, int least_ms,
					   void (*work) (void *argument), void *argument);

#endif							/* IDEMPOTENCY_KEYLOCK_H */
