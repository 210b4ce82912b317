/*-------------------------------------------------------------------------
 *
 * keyrow.h
 *	  A stored key: KeyRow, from a row of idempotency.keys and back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_KEYROW_H
#define IDEMPOTENCY_KEYROW_H

#include "executor/tuptable.h"
#include "key/keyname.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

typedef enum KeyStatus
{
	KEY_IN_PROGRESS,
	KEY_COMPLETED,
	KEY_FAILED,
	KEY_RELEASED,
	KEY_ISSUED,
	KEY_ERASED
} KeyStatus;

/* Represent SQL NULL for types that are not pointers. */
#define NO_STATUS_CODE	0
#define NO_TIME			DT_NOBEGIN

/*
 * One version of a key's row.  Values may still be toasted.  A row that a
 * probe found is complete: pass it to store_write() with fields changed.
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
	Interval   *ttl;			/* argument of the claim, or NULL */
	Interval   *lease;			/* of the claim; NULL if it has none */
	TimestampTz lease_until;	/* or NO_TIME, as the next two */
	TimestampTz claimed_at;
	TimestampTz completed_at;
	TimestampTz expires_at;
	bool		claimed_here;	/* the current transaction began the attempt */
	bool		unfinished;		/* the stored row is a claim that must end
								 * before the commit */

	/* The store's own. */
	bool		stored;			/* the rest is valid */
	bool		own;			/* written by the current transaction */
	TransactionId writer;		/* local: transaction that wrote this version */
	TransactionId claim_xid;	/* local: top-level transaction of the claim */
	int			leaf;
	ItemPointerData tid;
	pg_uuid_t	version;		/* distributed: of this version of the row, */
	pg_uuid_t	claim_version;	/* and of the one that began the attempt */
} KeyRow;

/* Whether the row is a claim that must end before the current transaction commits. */
static inline bool
keyrow_must_end(const KeyRow *row)
{
	return row->claimed_here && row->status == KEY_IN_PROGRESS &&
		row->lease_until == NO_TIME;
}

/*
 * Fetch the row's out-of-line values, so that it can be read after the store
 * is closed, when the tables may be emptied.
 */
extern void keyrow_detach(KeyRow *row);

/* The row as a row of type idempotency.keys. */
extern Datum keyrow_datum(const IdempotencyKey *key, const KeyRow *row);

/* ----------------------------------------------------------------
 *		Only for the stores
 * ----------------------------------------------------------------
 */

/* The columns of the table, by number. */
enum
{
	KEYS_SCOPE,
	KEYS_KEY,
	KEYS_FINGERPRINT,
	KEYS_STATUS,
	KEYS_STATUS_CODE,
	KEYS_RESOURCE_ID,
	KEYS_RESPONSE,
	KEYS_ATTEMPT,
	KEYS_RECOVERY_POINT,
	KEYS_STATE,
	KEYS_LEASE_UNTIL,
	KEYS_CLAIMED_AT,
	KEYS_COMPLETED_AT,
	KEYS_EXPIRES_AT,
	KEYS_TTL,
	KEYS_LEASE,
	KEYS_CLAIM_XID,
	KEYS_SLOT,
	KEYS_HASH,
	KEYS_COLUMNS
};

/*
 * Raise OBJECT_NOT_IN_PREREQUISITE_STATE if the table's columns are not those
 * that this library knows.
 */
extern void keyrow_check_columns(TupleDesc desc);

/* The same for the index by which keys are found: it must be on the hash. */
extern void keyrow_check_index(Relation index);

/* The value of a column that is never null; raises DATA_CORRUPTED if it is. */
extern Datum keyrow_required(Datum value, bool isnull);

/*
 * Read the row in the tuple slot.  It points to a copy in the current memory
 * context.  The caller fills in the leaf.
 */
extern void keyrow_read(KeyRow *row, TupleTableSlot *tts);

/*
 * The same for values in memory, which are not copied.  The caller also fills
 * in which transaction wrote the row.
 */
extern void keyrow_from_values(KeyRow *row, const Datum *values, const bool *isnull);

/*
 * The values of the row's columns.  The arrays have an element for each column
 * of the table.
 */
extern void keyrow_values(const IdempotencyKey *key, const KeyRow *row,
						  Datum *values, bool *isnull);

/* The row as a tuple of the table. */
extern HeapTuple keyrow_tuple(const IdempotencyKey *key, const KeyRow *row, TupleDesc desc);

/* Whether the row in the tuple slot is the key's. */
extern bool keyrow_is_of(const IdempotencyKey *key, TupleTableSlot *tts);

/*
 * Raise DATA_CORRUPTED unless the row, which has the key's hash, is the key's.
 */
extern void keyrow_check_key(const IdempotencyKey *key, TupleTableSlot *tts);

/* The same for a caller that has compared scope and key. */
extern void keyrow_check_same(const IdempotencyKey *key, bool same);

/*
 * The key of the row in the tuple slot, with its hash only: enough for its
 * lock.
 */
extern void keyrow_hash(IdempotencyKey *key, TupleTableSlot *tts);

/* A copy of the key of the row in the tuple slot. */
extern void keyrow_key(IdempotencyKey *key, TupleTableSlot *tts);

/*
 * The tuple of a row of the table, with the hash of its key as this database
 * computes it.
 */
extern HeapTuple keyrow_with_hash(HeapTuple tuple, TupleDesc desc);

/* Whether the current transaction has written the row in the tuple slot. */
extern bool keyrow_is_own(TupleTableSlot *tts);

/* When the row in the tuple slot expires. */
extern TimestampTz keyrow_expires_at(TupleTableSlot *tts);

/* The value of the row's column "slot". */
extern int	keyrow_slot(TupleTableSlot *tts);

#endif							/* IDEMPOTENCY_KEYROW_H */
