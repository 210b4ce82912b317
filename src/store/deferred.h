/*-------------------------------------------------------------------------
 *
 * deferred.h
 *	  Claims that are written when their result is known.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_DEFERRED_H
#define IDEMPOTENCY_DEFERRED_H

#include "store/keyrow.h"

/*
 * Request the shared memory; called when the library is loaded.  Does nothing
 * if the library is loaded after the server's start: then no claim is
 * deferred.
 */
extern void share_deferred_claims(void);

/*
 * Whether one more claim can be deferred: there is shared memory, the key fits
 * into it, not too many are deferred already, and it is the backend of the
 * transaction: writing fails in a parallel worker, whose memory ends with it.
 */
extern bool deferred_possible(const IdempotencyKey *key);

/*
 * Defer writing the claim.  The current subtransaction holds the key's lock,
 * has probed under it and found nothing, and hands the lock over to this file.
 */
extern void deferred_begin(const IdempotencyKey *key, const KeyRow *row);

/*
 * Called when the current subtransaction has written the claim, or removed it:
 * from then on the stored row counts.  Does nothing for a key without an open
 * claim.
 */
extern void deferred_end(const IdempotencyKey *key);

/*
 * The open claim of this backend, if there is one of this key.  Nothing is
 * stored under the key then.
 */
extern bool deferred_row(const IdempotencyKey *key, KeyRow *row);

/*
 * The key of any open claim of this backend; its texts are valid until the
 * claim ends.
 */
extern bool deferred_any(IdempotencyKey *key);

/*
 * The transaction in progress that has deferred a claim of the key, or
 * InvalidTransactionId; it may be a subtransaction.
 */
extern TransactionId deferred_owner(const IdempotencyKey *key);

/*
 * The next deferred claim of any backend of this database whose transaction is
 * in progress: the key, in the current memory context, and the fields of the
 * row that in_flight shows, with the top-level transaction as claim_xid.
 * False at the end.  The position is zero for the first call.
 */
extern bool deferred_next(int *position, IdempotencyKey *key, KeyRow *row);

#endif							/* IDEMPOTENCY_DEFERRED_H */
