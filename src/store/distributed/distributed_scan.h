/*-------------------------------------------------------------------------
 *
 * distributed_scan.h
 *	  Many rows of the distributed store at once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_DISTRIBUTED_SCAN_H
#define IDEMPOTENCY_DISTRIBUTED_SCAN_H

#include "store/store.h"

/* store_purge(), store_erase_scope() and store_visit_unfinished() of the distributed store. */
extern int64 distributed_purge(Store *store, const text *scope, WorkOnKey forget);
extern int64 distributed_erase_scope(Store *store, const text *scope, WorkOnKey erase);
extern void distributed_visit_unfinished(Store *store, const IdempotencyKey *of, TimestampTz now,
										 VisitClaim visit, void *argument);

/* The share of the distributed store in store_expire(). */
extern bool distributed_expire(Expiry *expiry);

#endif							/* IDEMPOTENCY_DISTRIBUTED_SCAN_H */
