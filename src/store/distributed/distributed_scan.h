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
extern int64 distributed_purge(const text *scope);
extern int64 distributed_erase_scope(const text *scope);
extern void distributed_unfinished(TimestampTz now, VisitRow visit, void *argument);

/*
 * Delete some rows that have expired, no more than the given number of each
 * shard, and add to *deleted how many they were.  Rows on which a transaction
 * works are skipped.  Returns whether there may be more.
 */
extern bool distributed_delete_expired(TimestampTz now, int64 most, int64 *deleted);

#endif							/* IDEMPOTENCY_DISTRIBUTED_SCAN_H */
