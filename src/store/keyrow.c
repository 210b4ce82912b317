/*-------------------------------------------------------------------------
 *
 * keyrow.c
 *	  From a row of idempotency.keys to KeyRow, and back.
 *
 * The only file that knows the columns of the table.  They are addressed by
 * number, and the library may be newer or older than the tables: call
 * keyrow_check_columns() before reading or writing rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "funcapi.h"
#include "objects.h"
#include "store/keyrow.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/typcache.h"

static const Oid column_types[KEYS_COLUMNS] = {
	[KEYS_SCOPE] = TEXTOID,
	[KEYS_KEY] = TEXTOID,
	[KEYS_FINGERPRINT] = BYTEAOID,
	[KEYS_STATUS] = TEXTOID,
	[KEYS_STATUS_CODE] = INT4OID,
	[KEYS_RESOURCE_ID] = TEXTOID,
	[KEYS_RESPONSE] = JSONBOID,
	[KEYS_ATTEMPT] = INT4OID,
	[KEYS_RECOVERY_POINT] = TEXTOID,
	[KEYS_STATE] = JSONBOID,
	[KEYS_LEASE_UNTIL] = TIMESTAMPTZOID,
	[KEYS_CLAIMED_AT] = TIMESTAMPTZOID,
	[KEYS_COMPLETED_AT] = TIMESTAMPTZOID,
	[KEYS_EXPIRES_AT] = TIMESTAMPTZOID,
	[KEYS_TTL] = INTERVALOID,
	[KEYS_LEASE] = INTERVALOID,
	[KEYS_CLAIM_XID] = XIDOID,
	[KEYS_SLOT] = INT2OID,
	[KEYS_HASH] = UUIDOID,
};

/* Value of the column "slot" in keys_long. */
#define SLOT_LONG	(-1)

static const char *const status_names[] = {
	[KEY_IN_PROGRESS] = "in_progress",
	[KEY_COMPLETED] = "completed",
	[KEY_FAILED] = "failed",
	[KEY_RELEASED] = "released",
	[KEY_ISSUED] = "issued",
	[KEY_ERASED] = "erased",
};

static KeyStatus
status_from_text(const text *name)
{
	for (int status = 0; status < (int) lengthof(status_names); status++)
	{
		if (strlen(status_names[status]) == VARSIZE_ANY_EXHDR(name) &&
			memcmp(status_names[status], VARDATA_ANY(name),
				   VARSIZE_ANY_EXHDR(name)) == 0)
			return (KeyStatus) status;
	}
	elog(ERROR, "unknown status of idempotency key");
}

void
keyrow_check_columns(TupleDesc desc)
{
	check_columns("keys", desc, column_types, KEYS_COLUMNS);
}

void
keyrow_check_index(Relation index)
{
	if (index->rd_rel->relam != BTREE_AM_OID || index->rd_index->indkey.values[0] != KEYS_HASH + 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("primary key \"%s\" is not as the extension created it", RelationGetRelationName(index)),
				 errdetail("Keys are found by their hash."),
				 errhint("Make the column \"hash\" the primary key of the table again.")));
}

Datum
keyrow_required(Datum value, bool isnull)
{
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a stored idempotency key lacks a required value"),
				 errhint("Restore the constraints of the table \"idempotency.keys\".")));
	return value;
}

static inline Datum
required_of_slot(TupleTableSlot *tts, int column)
{
	bool		isnull;
	Datum		value = slot_getattr(tts, column + 1, &isnull);

	return keyrow_required(value, isnull);
}

static inline void *
pointer_or_null(const Datum *values, const bool *isnull, int column)
{
	return isnull[column] ? NULL : DatumGetPointer(values[column]);
}

static inline TimestampTz
time_or_none(const Datum *values, const bool *isnull, int column)
{
	return isnull[column] ? NO_TIME : DatumGetTimestampTz(values[column]);
}

void
keyrow_from_values(KeyRow *row, const Datum *values, const bool *isnull)
{
	row->status = status_from_text(DatumGetTextPP(keyrow_required(values[KEYS_STATUS], isnull[KEYS_STATUS])));
	row->attempt = DatumGetInt32(keyrow_required(values[KEYS_ATTEMPT], isnull[KEYS_ATTEMPT]));
	row->status_code = isnull[KEYS_STATUS_CODE] ? NO_STATUS_CODE :
		DatumGetInt32(values[KEYS_STATUS_CODE]);
	row->fingerprint = isnull[KEYS_FINGERPRINT] ? NULL :
		DatumGetByteaPP(values[KEYS_FINGERPRINT]);
	row->resource_id = pointer_or_null(values, isnull, KEYS_RESOURCE_ID);
	row->response = pointer_or_null(values, isnull, KEYS_RESPONSE);
	row->recovery_point = pointer_or_null(values, isnull, KEYS_RECOVERY_POINT);
	row->state = pointer_or_null(values, isnull, KEYS_STATE);
	row->ttl = pointer_or_null(values, isnull, KEYS_TTL);
	row->lease = pointer_or_null(values, isnull, KEYS_LEASE);
	row->lease_until = time_or_none(values, isnull, KEYS_LEASE_UNTIL);
	row->claimed_at = time_or_none(values, isnull, KEYS_CLAIMED_AT);
	row->completed_at = time_or_none(values, isnull, KEYS_COMPLETED_AT);
	row->expires_at = DatumGetTimestampTz(keyrow_required(values[KEYS_EXPIRES_AT], isnull[KEYS_EXPIRES_AT]));
	row->claim_xid = isnull[KEYS_CLAIM_XID] ? InvalidTransactionId :
		DatumGetTransactionId(values[KEYS_CLAIM_XID]);
	row->writer = InvalidTransactionId;
	row->stored = true;
}

void
keyrow_read(KeyRow *row, TupleTableSlot *tts)
{
	Datum		values[MaxHeapAttributeNumber];
	bool		isnull[MaxHeapAttributeNumber];
	HeapTuple	tuple = ExecCopySlotHeapTuple(tts);

	heap_deform_tuple(tuple, tts->tts_tupleDescriptor, values, isnull);
	keyrow_from_values(row, values, isnull);
	row->writer = HeapTupleHeaderGetXmin(tuple->t_data);
	row->own = TransactionIdIsCurrentTransactionId(row->writer);
	row->claimed_here = row->own &&
		TransactionIdEquals(row->claim_xid, GetTopTransactionIdIfAny());
	row->unfinished = keyrow_must_end(row);
	row->tid = tts->tts_tid;
}

static inline void
put_pointer(Datum *values, bool *isnull, int column, const void *pointer)
{
	values[column] = PointerGetDatum(pointer);
	isnull[column] = pointer == NULL;
}

static inline void
put_time(Datum *values, bool *isnull, int column, TimestampTz time)
{
	values[column] = TimestampTzGetDatum(time);
	isnull[column] = time == NO_TIME;
}

void
keyrow_values(const IdempotencyKey *key, const KeyRow *row,
			  Datum *values, bool *isnull)
{
	memset(isnull, false, KEYS_COLUMNS * sizeof(bool));
	values[KEYS_SCOPE] = PointerGetDatum(key->scope);
	values[KEYS_KEY] = PointerGetDatum(key->name);
	put_pointer(values, isnull, KEYS_FINGERPRINT, row->fingerprint);
	values[KEYS_STATUS] = CStringGetTextDatum(status_names[row->status]);
	values[KEYS_STATUS_CODE] = Int32GetDatum(row->status_code);
	isnull[KEYS_STATUS_CODE] = row->status_code == NO_STATUS_CODE;
	put_pointer(values, isnull, KEYS_RESOURCE_ID, row->resource_id);
	put_pointer(values, isnull, KEYS_RESPONSE, row->response);
	values[KEYS_ATTEMPT] = Int32GetDatum(row->attempt);
	put_pointer(values, isnull, KEYS_RECOVERY_POINT, row->recovery_point);
	put_pointer(values, isnull, KEYS_STATE, row->state);
	put_time(values, isnull, KEYS_LEASE_UNTIL, row->lease_until);
	put_time(values, isnull, KEYS_CLAIMED_AT, row->claimed_at);
	put_time(values, isnull, KEYS_COMPLETED_AT, row->completed_at);
	values[KEYS_EXPIRES_AT] = TimestampTzGetDatum(row->expires_at);
	put_pointer(values, isnull, KEYS_TTL, row->ttl);
	put_pointer(values, isnull, KEYS_LEASE, row->lease);
	values[KEYS_CLAIM_XID] = TransactionIdGetDatum(row->claim_xid);
	isnull[KEYS_CLAIM_XID] = !TransactionIdIsValid(row->claim_xid);
	values[KEYS_SLOT] = Int16GetDatum(row->leaf == LEAF_LONG ? SLOT_LONG : row->leaf);
	values[KEYS_HASH] = UUIDPGetDatum(&key->hash);
}

HeapTuple
keyrow_tuple(const IdempotencyKey *key, const KeyRow *row, TupleDesc desc)
{
	Datum		values[MaxHeapAttributeNumber];
	bool		isnull[MaxHeapAttributeNumber];

	memset(isnull, true, desc->natts * sizeof(bool));
	keyrow_values(key, row, values, isnull);
	return heap_form_tuple(desc, values, isnull);
}

static void *
detached(void *value)
{
	return value != NULL && VARATT_IS_EXTERNAL(value) ?
		detoast_external_attr(value) : value;
}

void
keyrow_detach(KeyRow *row)
{
	row->resource_id = detached(row->resource_id);
	row->response = detached(row->response);
	row->recovery_point = detached(row->recovery_point);
	row->state = detached(row->state);
}

Datum
keyrow_datum(const IdempotencyKey *key, const KeyRow *row)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(objects()->keys_type, -1);
	Datum		result;

	keyrow_check_columns(desc);
	result = HeapTupleGetDatum(keyrow_tuple(key, row, desc));
	ReleaseTupleDesc(desc);
	return result;
}

bool
keyrow_is_of(const IdempotencyKey *key, TupleTableSlot *tts)
{
	text	   *scope = DatumGetTextPP(required_of_slot(tts, KEYS_SCOPE));
	text	   *name = DatumGetTextPP(required_of_slot(tts, KEYS_KEY));

	return same_text(scope, key->scope) && same_text(name, key->name);
}

/*
 * Elsewhere a hash of 128 bits identifies its key.  Two keys with the same
 * hash can't both be stored; an error is better than a wrong answer.
 */
void
keyrow_check_same(const IdempotencyKey *key, bool same)
{
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("two idempotency keys have the same hash"),
				 errdetail("The hash of key \"%s\" of scope \"%s\" is stored for another key.",
						   key_in_message(key->name), scope_in_message(key->scope)),
				 errhint("Retry with another key.")));
}

void
keyrow_check_key(const IdempotencyKey *key, TupleTableSlot *tts)
{
	keyrow_check_same(key, keyrow_is_of(key, tts));
}

void
keyrow_hash(IdempotencyKey *key, TupleTableSlot *tts)
{
	bool		isnull;

	key->scope = NULL;
	key->name = NULL;
	key->hash = *DatumGetUUIDP(slot_getattr(tts, KEYS_HASH + 1, &isnull));
}

void
keyrow_key(IdempotencyKey *key, TupleTableSlot *tts)
{
	key->scope = DatumGetTextPCopy(required_of_slot(tts, KEYS_SCOPE));
	key->name = DatumGetTextPCopy(required_of_slot(tts, KEYS_KEY));
	key->hash = *DatumGetUUIDP(required_of_slot(tts, KEYS_HASH));
}

HeapTuple
keyrow_with_hash(HeapTuple tuple, TupleDesc desc)
{
	IdempotencyKey key;
	int			column = KEYS_HASH + 1;
	Datum		value;
	bool		isnull;

	keyrow_check_columns(desc);
	value = heap_getattr(tuple, KEYS_SCOPE + 1, desc, &isnull);
	if (isnull)
		return tuple;			/* the table's constraints refuse it */
	key.scope = DatumGetTextPP(value);
	value = heap_getattr(tuple, KEYS_KEY + 1, desc, &isnull);
	if (isnull)
		return tuple;
	key.name = DatumGetTextPP(value);
	hash_key(&key);
	value = UUIDPGetDatum(&key.hash);
	return heap_modify_tuple_by_cols(tuple, desc, 1, &column, &value, &isnull);
}

bool
keyrow_is_own(TupleTableSlot *tts)
{
	bool		isnull;
	Datum		xmin = slot_getsysattr(tts, MinTransactionIdAttributeNumber, &isnull);

	return TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
}

TimestampTz
keyrow_expires_at(TupleTableSlot *tts)
{
	return DatumGetTimestampTz(required_of_slot(tts, KEYS_EXPIRES_AT));
}

int
keyrow_slot(TupleTableSlot *tts)
{
	return DatumGetInt16(required_of_slot(tts, KEYS_SLOT));
}
