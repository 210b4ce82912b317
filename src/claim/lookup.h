/*-------------------------------------------------------------------------
 *
 * lookup.h
 *	  Reading the row of a key without waiting.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_LOOKUP_H
#define IDEMPOTENCY_LOOKUP_H

#include "store/keyrow.h"

/*
 * Find the key's live row: the committed one, or the current transaction's
 * own.  Uncommitted rows of other transactions are ignored.
 */
extern bool lookup_key(const IdempotencyKey *key, KeyRow *row);

#endif							/* IDEMPOTENCY_LOOKUP_H */
