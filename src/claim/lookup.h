/*-------------------------------------------------------------------------
 *
 * lookup.h
 *	  What is stored for a key, without waiting.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_LOOKUP_H
#define IDEMPOTENCY_LOOKUP_H

#include "store/store.h"

/*
 * Find the key's live row: the committed one, or the current transaction's
 * own.  A row that only exists for a transaction in progress is none.
 */
extern bool lookup_key(const IdempotencyKey *key, KeyRow *row);

#endif							/* IDEMPOTENCY_LOOKUP_H */
