/*-------------------------------------------------------------------------
 *
 * unfinished.h
 *	  Claims that must end before their transaction commits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_UNFINISHED_H
#define IDEMPOTENCY_UNFINISHED_H

/* Watch for statements on foreign tables; called when the library is loaded. */
extern void watch_statements(void);

/*
 * Count claims of the current transaction that have neither a result nor a
 * lease: a positive number for claims made, a negative one for claims ended.
 * COMMIT and PREPARE TRANSACTION raise IK500 while there are any.
 */
extern void unfinished_change(int64 by);
extern bool unfinished_any(void);

#endif							/* IDEMPOTENCY_UNFINISHED_H */
