/*-------------------------------------------------------------------------
 *
 * keylock.h
 *	  The lock of a key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_KEYLOCK_H
#define IDEMPOTENCY_KEYLOCK_H

#include "key/keyname.h"
#include "store/wait.h"

/*
 * The class of our advisory locks: pg_locks.objsubid.  1 and 2 belong to the
 * SQL functions, 4 to 31 to other extensions.
 */
#define KEYLOCK_CLASS	18756
#define WAITERS_CLASS	18757	/* the class of the locks by which waiters are
								 * counted */

/* Take the key's lock if it is free. */
extern bool keylock_try(const IdempotencyKey *key);

/*
 * Take the key's lock, waiting for a moment at least.  Returns false if the limit
 * ran out first; the transaction is then as it was.  The wait is counted, however
 * it ends.
 */
extern bool keylock_wait(const IdempotencyKey *key, const WaitLimit *limit,
						 StatsEntry *stats);

/* Release the lock, in the (sub)transaction that took it. */
extern void keylock_release(const IdempotencyKey *key);

/*
 * Count this backend among the waiters of the key; false if there are
 * max_waiters already.  Backends that arrive in the same instant may exceed
 * that number.
 */
extern bool keylock_join_waiters(const IdempotencyKey *key);
extern void keylock_leave_waiters(const IdempotencyKey *key);

#endif							/* IDEMPOTENCY_KEYLOCK_H */
