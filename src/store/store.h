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

#include "executor/tuptable.h"
#include "storage/block.h"
#include "store/keylock.h"
#include "store/keyrow.h"
#include "store/local/leaf.h"
#include "store/unfinished.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/*
 * What there is under a key.
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

/* Set whether a changed row is such a claim from now on. */
static inline void
keyrow_count_unfinished(KeyRow *row, bool unfinished)
{
	if (row->unfinished != unfinished)
		unfinished_change(unfinished ? 1 : -1);
	row->unfinished = unfinished;
}

/* Called for each row that is read; the row is valid until the next call. */
typedef void (*VisitRow) (const IdempotencyKey *key, const KeyRow *row, void *argument);

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
	int64		(*purge) (const text *scope);	/* or NULL, as the next two */
	int64		(*erase_scope) (const text *scope);
	void		(*unfinished) (TimestampTz now, VisitRow visit, void *argument);
} StoreMethods;

extern const StoreMethods local_store;
extern const StoreMethods distributed_store;

/*
 * Open the store that is in use in this database.  It allocates in the current
 * memory context, which must live until store_close().
 */
extern void store_open(Store *store);

/* Open the local store, whichever is in use. */
extern void store_open_local(Store *store);

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

/* Let it go again. */
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
 * Forget all keys of the scope and of those below it, and count those that
 * were live, if the store can do that at once; false if the caller must do it
 * key by key.
 */
static inline bool
store_purge(const Store *store, const text *scope, int64 *purged)
{
	if (store->methods->purge == NULL)
		return false;
	*purged = store->methods->purge(scope);
	return true;
}

/* The same, but erase those that have a result. */
static inline bool
store_erase_scope(const Store *store, const text *scope, int64 *erased)
{
	if (store->methods->erase_scope == NULL)
		return false;
	*erased = store->methods->erase_scope(scope);
	return true;
}

/*
 * Visit the claims that are unfinished and live, and that are committed or the
 * current transaction's own, if the store can only be read by a query; false
 * if the caller reads it with a StoreScan.
 */
static inline bool
store_visit_unfinished(const Store *store, TimestampTz now, VisitRow visit, void *argument)
{
	if (store->methods->unfinished == NULL)
		return false;
	store->methods->unfinished(now, visit, argument);
	return true;
}

/*
 * A walk through part of a leaf that deletes expired rows.  Set pages_left to
 * the number of pages to read; the walk begins at a random page.  It can be
 * paused and resumed in another transaction.
 */
typedef struct LongWalk
{
	int			leaf;
	bool		begun;
	BlockNumber next;
	BlockNumber pages_left;		/* zero: the walk is over */

	/* Between resume and pause. */
	Relation	heap;
	struct TableScanDescData *scan;
	TupleTableSlot *tts;
	BlockNumber end;
	bool		deleted;
} LongWalk;

/*
 * Resume the walk, for a bounded number of pages.  Returns false if it is
 * over, or if the table is locked against writing; it never waits.
 */
extern bool store_walk_resume(LongWalk *walk);

/*
 * The key of the next expired row that the current transaction has not written
 * itself.  Returns false if it is time for a pause.
 */
extern bool store_walk_next(LongWalk *walk, TimestampTz now, IdempotencyKey *key);

/*
 * Delete that row.  The caller holds its key's lock.  Returns false, without
 * waiting, if a transaction has replaced or deleted the row since, or works on
 * it.
 */
extern bool store_walk_delete(LongWalk *walk);

/*
 * Pause the walk.  The table stays locked to the end of the transaction if
 * something was deleted, and is unlocked otherwise.  A page that was not read
 * to its end will be read again.
 */
extern void store_walk_pause(LongWalk *walk);

/*
 * A scan of some leaves for all rows, including expired ones, that are
 * committed or were written by the current transaction or another one in
 * progress.  A row that a transaction in progress has replaced is returned in
 * both versions.  Key and row are valid until the next row is fetched; writer
 * is the other transaction that works on the row, if any, and uncommitted
 * tells whether it has written this version.  Tables are read under
 * AccessShareLock.  The memory context per_row is reset when the next row is
 * fetched.
 *
 * With old_versions, the scan also returns versions that were replaced or
 * deleted after the oldest snapshot in use was taken, and no writer.  Each key
 * that was committed when the caller's snapshot was taken is returned at least
 * once, in some version, even if its row moves meanwhile.
 */
typedef struct StoreScan
{
	const IdempotencyKey *key;	/* NULL: all keys */
	int			leaf;
	int			last_leaf;
	bool		old_versions;
	Relation	heap;
	Relation	index;			/* of a scan for one key */
	struct TableScanDescData *scan;
	struct IndexScanDescData *index_scan;
	SnapshotData snapshot;
	TupleTableSlot *tts;
	MemoryContext per_row;
	bool		uncommitted;
} StoreScan;

extern void store_scan_begin(StoreScan *scan, int first_leaf, int last_leaf,
							 bool old_versions);

/* The same for the rows of one key in all leaves, by the index, without old versions. */
extern void store_scan_begin_key(StoreScan *scan, const IdempotencyKey *key);

extern bool store_scan_next(StoreScan *scan, IdempotencyKey *key, KeyRow *row,
							TransactionId *writer);
extern void store_scan_end(StoreScan *scan);

#endif							/* IDEMPOTENCY_STORE_H */
