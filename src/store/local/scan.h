/*-------------------------------------------------------------------------
 *
 * scan.h
 *	  Reading the stored keys from end to end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_SCAN_H
#define IDEMPOTENCY_SCAN_H

#include "store/store.h"

/*
 * store_purge() and store_erase_scope() of the local store.  A key that is
 * claimed meanwhile may be missed; a key whose row moves or changes is not.
 */
extern int64 local_work_on_scope(Store *store, const text *scope, WorkOnKey work);

/* store_visit_unfinished() of the local store. */
extern void local_visit_unfinished(Store *store, const IdempotencyKey *of, TimestampTz now,
								   VisitClaim visit, void *argument);

#endif							/* IDEMPOTENCY_SCAN_H */
