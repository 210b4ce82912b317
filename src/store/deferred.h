/*-------------------------------------------------------------------------
 *
 * deferred.h
 *	  The claim of a command that runs, before it is written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_DEFERRED_H
#define IDEMPOTENCY_DEFERRED_H

#include "store/store.h"

/*
 * Ask for the shared memory; called when the library is loaded.  Does nothing
 * where that is later than the server's start: no claim is deferred then.
 */
extern void share_deferred_claims(void);

/* Whether a claim of this key can be deferred, and be seen by operators. */
extern bool deferred_possible(const IdempotencyKey *key);

/*
 * Put off writing the claim.  The caller holds the key's lock, has probed
 * under it and found nothing, and keeps the lock until the claim is written or
 * its (sub)transaction is rolled back.  What the key and the row point to stays
 * valid until deferred_end(), which the caller sees to, also after an error.
 */
extern void deferred_begin(const IdempotencyKey *key, const KeyRow *row);
extern void deferred_end(void);

/*
 * The claim that this backend has deferred, if it is one of this key.  It
 * counts where nothing else is stored under the key.
 */
extern bool deferred_row(const IdempotencyKey *key, KeyRow *row);

/*
 * Whether nothing was written under this key since its claim was deferred, not
 * even what was rolled back.
 */
extern bool deferred_untouched(const IdempotencyKey *key);

/* Note that something is being written under a key, whichever it is. */
extern void deferred_touch(const IdempotencyKey *key);

/*
 * The next claim that a backend of this database has deferred and whose
 * transaction runs: the key, in the current memory context, and of the row what
 * in_flight shows.  False at the end; the position is zero for the first.
 */
extern bool deferred_next(int *position, IdempotencyKey *key, KeyRow *row);

#endif							/* IDEMPOTENCY_DEFERRED_H */
