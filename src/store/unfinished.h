/*-------------------------------------------------------------------------
 *
 * unfinished.h
 *	  Claims that must end before their transaction commits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_UNFINISHED_H
#define IDEMPOTENCY_UNFINISHED_H

/* Called when the library is loaded. */
extern void watch_statements(void);

/*
 * Note that the current subtransaction has made claims that have neither a
 * result nor a lease, or, by a negative number, ended such claims of its transaction.
 * COMMIT and PREPARE TRANSACTION raise IK500 while there are any.
 */
extern void unfinished_change(int64 by);

#endif							/* IDEMPOTENCY_UNFINISHED_H */
