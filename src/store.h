/*-------------------------------------------------------------------------
 *
 * store.h
 *	  The stored keys: probe, read, write.
 *
 * Everything above this seam speaks of keys and rows, never of tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_STORE_H
#define IDEMPOTENCY_STORE_H

#include "executor/tuptable.h"
#include "keyname.h"
#include "nodes/pg_list.h"
#include "storage/block.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"
#include "wheel.h"

typedef enum KeyStatus
{
	KEY_IN_PROGRESS,
	KEY_COMPLETED,
	KEY_FAILED,
	KEY_RELEASED,
	KEY_ISSUED,
	KEY_ERASED
} KeyStatus;

/* Stand for SQL NULL where a pointer can't. */
#define NO_STATUS_CODE	0
#define NO_TIME			DT_NOBEGIN

/*
 * One version of a key's row.  Values may still be toasted.  What a probe
 * found is complete: hand it back to store_write() with fields changed.
 */
typedef struct KeyRow
{
	KeyStatus	status;
	int32		attempt;
	int32		status_code;	/* or NO_STATUS_CODE */
	bytea	   *fingerprint;	/* pointers: or NULL */
	text	   *resource_id;
	Jsonb	   *response;
	text	   *recovery_point;
	Jsonb	   *state;
	Interval   *ttl;
	TimestampTz lease_until;	/* or NO_TIME, as the next two */
	TimestampTz claimed_at;
	TimestampTz completed_at;
	TimestampTz expires_at;
	TransactionId claim_xid;	/* top-level transaction of the claim */

	/* The store's own. */
	bool		stored;			/* the rest is valid */
	bool		own;			/* written by the current transaction */
	int			leaf;
	ItemPointerData tid;
} KeyRow;

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
 * Where an expired row is found, there is no live one.
 */
typedef struct Probe
{
	bool		found;
	TransactionId writer;
	KeyRow		row;
} Probe;

/* The tables as one call has them open; nothing of it is for callers. */
typedef struct Store
{
	MemoryContext context;
	Wheel		wheel;
	Relation	heap[LEAVES];
	Relation	index[LEAVES];
	struct IndexInfo *index_info[LEAVES];
	bool		written[LEAVES];
	TupleTableSlot *read_slot;
	TupleTableSlot *write_slot;
} Store;

/*
 * Begin to use the store.  What it holds open is allocated in the current
 * memory context, which must live until store_close().
 */
extern void store_open(Store *store);

/*
 * Learn what has become of the wheel.  Called after taking a key's lock and
 * before probing under it, so that the probe relies on nothing older (W3).
 */
extern void store_refresh(Store *store);

/*
 * Let go of the tables; those written to stay locked to the end of the
 * transaction.  The store can be used again.  A caller that is going to wait
 * closes it first, so that the wheel can turn meanwhile.
 */
extern void store_close(Store *store);

/*
 * Look the key up, with a snapshot that sees what is committed at this
 * instant, whatever the isolation level, and what is not committed yet.
 * Under the key's lock the answer is complete.  Without it "nothing" may be
 * wrong, and what was found was true when it was read.  The leaf that a key
 * expiring at the hint would be in is looked at first.
 */
extern void store_probe(Store *store, const IdempotencyKey *key,
						TimestampTz now, TimestampTz hint, Probe *probe);

/*
 * The same in that leaf only: what is found is true, "nothing" says nothing.
 * Enough to find what was claimed a while ago on the same terms.
 */
extern void store_glance(Store *store, const IdempotencyKey *key,
						 TimestampTz now, TimestampTz hint, Probe *probe);

/*
 * The key's row if the current transaction wrote it, and nothing else since,
 * without looking it up; false where it must be looked up.  The answer is as
 * complete as that of store_probe() under the key's lock, which the caller
 * holds.
 */
extern bool store_recall(Store *store, const IdempotencyKey *key, Probe *probe);

/*
 * Write the row: insert it, or replace the version that was probed, in the
 * leaf where its expiry belongs (W1).  The caller holds the key's lock, has
 * probed under it, and found no other transaction at work.  Returns false,
 * with nothing written, where the unique index knows better.
 */
extern bool store_write(Store *store, const IdempotencyKey *key, KeyRow *row);

/*
 * Delete a row that was probed.  The caller holds the key's lock, has probed
 * under it, and found no other transaction at work.
 */
extern void store_delete(Store *store, KeyRow *row);

/*
 * A walk through part of keys_long, to delete expired rows.  Set pages_left to
 * the number of pages to read; the walk begins anywhere.  It can be paused, and
 * go on in another transaction.
 */
typedef struct LongWalk
{
	bool		begun;
	BlockNumber next;
	BlockNumber pages_left;		/* zero: the walk is over */

	/* Between resume and pause. */
	Relation	heap;
	struct TableScanDescData *scan;
	TupleTableSlot *slot;
	BlockNumber end;
	bool		deleted;
} LongWalk;

/*
 * Go on with the walk, for a bounded number of pages.  Returns false where it is
 * over, as it is where the table is locked against writing; it never waits.
 */
extern bool store_walk_resume(LongWalk *walk);

/*
 * The key of the next row that has expired, by a transaction that has ended.
 * Returns false where it is time for a pause.
 */
extern bool store_walk_next(LongWalk *walk, TimestampTz now, IdempotencyKey *key);

/*
 * Delete that row.  The caller has its key's lock.  Returns false, without
 * waiting, where a transaction has replaced or deleted it since, or is at work
 * on it.
 */
extern bool store_walk_delete(LongWalk *walk);

/*
 * Let go of the table; where something was deleted it stays locked to the end
 * of the transaction.  A page that was not read to its end is read again.
 */
extern void store_walk_pause(LongWalk *walk);

/*
 * Fetch the row's out-of-line values, so that it can be read after the store
 * is closed and the tables may be emptied.
 */
extern void store_detach(KeyRow *row);

/* The probed row as a row of type idempotency.keys. */
extern Datum store_row_datum(const IdempotencyKey *key, const KeyRow *row);

/*
 * All rows of some leaves that are committed, the current transaction's own,
 * or another's that has not ended, expired ones among them; a row that a
 * transaction in progress has replaced is there in both versions.  Key and row
 * are valid until the next is asked for; writer is the other transaction at
 * work, if any.  Tables are read under AccessShareLock.  What a caller allocates
 * in per_row is freed when the next row is asked for.
 *
 * With old versions, also those that were replaced or deleted since the oldest
 * snapshot in use was taken, the caller's included, and no writer.  Each key that
 * was committed when the caller's snapshot was taken is met at least once, in
 * whatever version, however its row moves meanwhile.
 */
typedef struct StoreScan
{
	int			leaf;
	int			last_leaf;
	bool		old_versions;
	Relation	heap;
	struct TableScanDescData *scan;
	SnapshotData snapshot;
	TupleTableSlot *slot;
	MemoryContext per_row;
} StoreScan;

extern void store_scan_begin(StoreScan *scan, int first_leaf, int last_leaf,
							 bool old_versions);
extern bool store_scan_next(StoreScan *scan, IdempotencyKey *key, KeyRow *row,
							TransactionId *writer);
extern void store_scan_end(StoreScan *scan);

#endif							/* IDEMPOTENCY_STORE_H */
