/*-------------------------------------------------------------------------
 *
 * row_version.h
 *	  Rows of the distributed store: versions, and whose they are.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_ROW_VERSION_H
#define IDEMPOTENCY_ROW_VERSION_H

#include "store/keyrow.h"

/* A version of the current transaction that no row has had. */
extern void new_version(pg_uuid_t *version);

/* Whether the current transaction has written that version. */
extern bool is_own_version(const pg_uuid_t *version);

/*
 * Rises when the transaction ends, and when a subtransaction is rolled back: what
 * a backend remembers of its transaction is valid while it stays the same.
 * Never zero.
 */
extern uint64 memory_generation(void);

/* Let it rise: rows are changed by other means. */
extern void forget_memories(void);

/* The lowest and the highest version that the current transaction can write. */
extern void own_versions(pg_uuid_t *lowest, pg_uuid_t *highest);

/* A row and its key, from the results of a statement, DISTRIBUTED_RESULTS of them. */
extern void distributed_row(IdempotencyKey *key, KeyRow *row, const Datum *results,
							const bool *isnull);

#endif							/* IDEMPOTENCY_ROW_VERSION_H */
