/*-------------------------------------------------------------------------
 *
 * store.h
 *	  The stored keys: probe, read, write.
 *
 * Code above this interface knows keys and rows, not tables.  There are two
 * stores with the same functions: the local one, in the tables of the expiry
 * wheel (local.c), and the distributed one, in a table that Citus may
 * distribute over many servers (distributed.c).  choice.c chooses.
 *
 * Both follow one protocol: take the key's lock, probe, judge, write, release
 * the lock.  The distributed store has no lock of a key.  There a write
 * reports whether the probed version is still the current one, and waits for
 * another transaction that works on the key; and a row must be written before
 * it may be read, so that a claim begins with a write that assumes the key
 * absent.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_STORE_H
#define IDEMPOTENCY_STORE_H

#include "store/keyrow.h"
#include "store/local/expire.h"
#include "store/local/leaf.h"
#include "store/unfinished.h"
#include "store/wait.h"

/*
 * What is stored under a key.
 *
 *	found	writer	meaning
 *	no		no		nothing
 *	yes		no		row is settled, or the current transaction's own
 *	no		yes		another transaction has inserted it and not ended
 *	yes		yes		row is committed; another transaction has replaced,
 *					moved or deleted it and not ended
 *
 * If an expired row is found, there is no live one.
 */
typedef struct Probe
{
	bool		found;
	TransactionId writer;
	KeyRow		row;
} Probe;

/* The result of a write. */
typedef enum WriteResult
{
	WRITE_DONE,
	WRITE_REFUSED,				/* nothing is written: the probed version is
								 * outdated */
	WRITE_OUT_OF_TIME			/* nothing is written: another transaction
								 * works on the key, and the limit has run out */
} WriteResult;

/* A store that one call has open.  Callers use no field. */
typedef struct Store
{
	const struct StoreMethods *methods;
	Leaves		leaves;			/* the tables of the local store */
} Store;

/* Record whether a changed row is now a claim that must end before the commit. */
static inline void
keyrow_count_unfinished(KeyRow *row, bool unfinished)
{
	if (row->unfinished != unfinished)
		unfinished_change(unfinished ? 1 : -1);
	row->unfinished = unfinished;
}

/* Work on a key; returns whether it counts. */
typedef bool (*WorkOnKey) (const IdempotencyKey *key, Store *store);

/*
 * Called for each version of a claim's row that is read; key and row are valid
 * until the next call.  holder is the transaction in progress that works on the
 * claim, if any, and replaced tells whether it has replaced or removed this
 * version.
 */
typedef void (*VisitClaim) (const IdempotencyKey *key, const KeyRow *row,
							TransactionId holder, bool replaced, void *argument);

/* A round of expiry, in both stores. */
typedef struct Expiry
{
	int64		rows_left;		/* rows that may still be deleted */
	LocalExpiry local;
	bool		distributed_done;	/* no more expired rows in it */

	/* what has been done */
	int			slots_cleared;
	int64		rows_deleted;
} Expiry;

typedef struct StoreMethods
{
	bool		writes_first;	/* then there is a touch() */
	bool		(*try_lock) (const IdempotencyKey *key);
	bool		(*lock) (const IdempotencyKey *key, const WaitLimit *limit, StatsEntry *stats);
	void		(*unlock) (const IdempotencyKey *key);
	void		(*refresh) (Store *store);
	void		(*close) (Store *store);
	void		(*probe) (Store *store, const IdempotencyKey *key,
						  TimestampTz now, TimestampTz hint, Probe *probe);
	bool		(*probe_for_update) (Store *store, const IdempotencyKey *key,
									 TimestampTz now, TimestampTz hint, const WaitLimit *limit,
									 StatsEntry *stats, Probe *probe);
	bool		(*touch) (const IdempotencyKey *key, const WaitLimit *limit, StatsEntry *stats);
	bool		(*defer) (Store *store, const IdempotencyKey *key, KeyRow *row);	/* or NULL: never */
	WriteResult (*write) (Store *store, const IdempotencyKey *key, KeyRow *row,
						  const WaitLimit *limit, StatsEntry *stats);
	void		(*delete) (Store *store, const IdempotencyKey *key, KeyRow *row);
	int64		(*purge) (Store *store, const text *scope, WorkOnKey forget);
	int64		(*erase_scope) (Store *store, const text *scope, WorkOnKey erase);
	void		(*visit_unfinished) (Store *store, const IdempotencyKey *of, TimestampTz now,
									 VisitClaim visit, void *argument);
	bool		(*find_unfinished) (Store *store, IdempotencyKey *key);
	bool		(*expire) (Expiry *expiry);
} StoreMethods;

extern const StoreMethods local_store;
extern const StoreMethods distributed_store;

/*
 * Open the store that is in use in this database.  It allocates in the current
 * memory context, which must live until store_close().
 */
extern void store_open(Store *store);

/*
 * Whether a claim has to write before it reads: it begins with the write that
 * it makes if nothing is stored, and probes if that write is refused.
 */
static inline bool
store_writes_first(const Store *store)
{
	return store->methods->writes_first;
}

/* Take the key's lock if it is free. */
static inline bool
store_try_lock(Store *store, const IdempotencyKey *key)
{
	return store->methods->try_lock(key);
}

/*
 * Take the key's lock.  Returns false if the limit ran out first; the
 * transaction is then as it was.
 */
static inline bool
store_lock(Store *store, const IdempotencyKey *key, const WaitLimit *limit, StatsEntry *stats)
{
	return store->methods->lock(key, limit, stats);
}

/* Release it. */
static inline void
store_unlock(Store *store, const IdempotencyKey *key)
{
	store->methods->unlock(key);
}

/*
 * Accept changes of the wheel.  Called after taking a key's lock and before
 * probing under it, so that the probe does not rely on an older wheel (W3).
 */
static inline void
store_refresh(Store *store)
{
	store->methods->refresh(store);
}

/*
 * Unlock the tables; those written to stay locked to the end of the
 * transaction.  The store can be used again.  A caller closes it before a
 * wait, so that the wheel can turn meanwhile.
 */
static inline void
store_close(Store *store)
{
	store->methods->close(store);
}

/*
 * Look the key up with a snapshot that sees committed rows as of this instant,
 * at every isolation level, and uncommitted ones.  Under the key's lock the
 * answer is complete.  Without the lock the answer "nothing" may be wrong, and
 * a row that was found was valid when it was read.  The leaf for keys that
 * expire at the time of the hint is probed first.
 *
 * The distributed store reads with the transaction's snapshot and never
 * reports a writer: a caller that acts upon the answer meets other writers
 * when it writes.
 */
static inline void
store_probe(Store *store, const IdempotencyKey *key,
			TimestampTz now, TimestampTz hint, Probe *probe)
{
	store->methods->probe(store, key, now, hint, probe);
}

/*
 * Look the key up in order to change its row: as complete as store_probe()
 * under the key's lock, which the caller holds, but faster if the current
 * transaction has just written the row.  Returns false if another transaction
 * works on the row and the limit ran out.
 */
static inline bool
store_probe_for_update(Store *store, const IdempotencyKey *key,
					   TimestampTz now, TimestampTz hint, const WaitLimit *limit,
					   StatsEntry *stats, Probe *probe)
{
	return store->methods->probe_for_update(store, key, now, hint, limit, stats, probe);
}

/*
 * Write to the key without changing it, so that it may be read, if the store
 * must be written to first.  Returns false if another transaction works on the
 * key and the limit ran out.
 */
static inline bool
store_touch(Store *store, const IdempotencyKey *key, const WaitLimit *limit, StatsEntry *stats)
{
	return store->methods->touch(key, limit, stats);
}

/*
 * Defer writing the claim of a key under which nothing is stored until its result
 * is known (deferred.h), if that is possible.  The caller holds the key's
 * lock, and leaves it to the store.
 */
static inline bool
store_defer(Store *store, const IdempotencyKey *key, KeyRow *row)
{
	bool		deferred = store->methods->defer != NULL &&
		store->methods->defer(store, key, row);

	if (deferred)
		keyrow_count_unfinished(row, keyrow_must_end(row));
	return deferred;
}

/*
 * Write the row: insert it, or replace the version that was probed, in the
 * leaf that its expiry requires (W1).  The caller holds the key's lock, and
 * has probed under it and found no other transaction working on the key.  The
 * limit is for stores that detect such a transaction by writing.
 */
static inline WriteResult
store_write(Store *store, const IdempotencyKey *key, KeyRow *row,
			const WaitLimit *limit, StatsEntry *stats)
{
	WriteResult result = store->methods->write(store, key, row, limit, stats);

	if (result == WRITE_DONE)
		keyrow_count_unfinished(row, keyrow_must_end(row));
	return result;
}

/*
 * Delete a row that was probed for update or written.  The caller holds the
 * key's lock, and has found no other transaction working on the key.
 */
static inline void
store_delete(Store *store, const IdempotencyKey *key, KeyRow *row)
{
	store->methods->delete(store, key, row);
	keyrow_count_unfinished(row, false);
}

/*
 * Forget all keys of the scope and of those below it, and count those that were
 * there.  A store that works on them one by one leaves each to the caller.
 */
static inline int64
store_purge(Store *store, const text *scope, WorkOnKey forget)
{
	return store->methods->purge(store, scope, forget);
}

/* The same, but erase those that have a result. */
static inline int64
store_erase_scope(Store *store, const text *scope, WorkOnKey erase)
{
	return store->methods->erase_scope(store, scope, erase);
}

/*
 * Visit the claims that are in progress, of one key or of all if that is NULL:
 * those that are committed and live, and those of transactions in progress, with
 * a result or without.  The distributed store does not know the uncommitted
 * claims of other transactions.
 */
static inline void
store_visit_unfinished(Store *store, const IdempotencyKey *of, TimestampTz now,
					   VisitClaim visit, void *argument)
{
	store->methods->visit_unfinished(store, of, now, visit, argument);
}

/*
 * The key of a claim that must end before the current transaction commits, in
 * the current memory context.  Returns false if none is known: the local store
 * does not read all rows for it.
 */
static inline bool
store_find_unfinished(Store *store, IdempotencyKey *key)
{
	return store->methods->find_unfinished(store, key);
}

/* Begin a round of expiry that deletes no more than the given number of rows. */
extern void store_begin_expiry(Expiry *expiry, int64 max_rows);

/*
 * Do the next bounded piece of the round, in the current transaction: empty a
 * slot, or delete some rows.  Never waits.  Returns false if the round is over.
 * The caller needs an active snapshot.
 */
extern bool store_expire(Expiry *expiry);

#endif							/* IDEMPOTENCY_STORE_H */
