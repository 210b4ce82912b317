/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What differs between PostgreSQL 15 and 19.
 *
 * The only file that looks at PG_VERSION_NUM.  Each definition gives the rest
 * of the source one form to write; where a major needs nothing, it is plain.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_COMPAT_H
#define IDEMPOTENCY_COMPAT_H

#include "access/genam.h"
#include "access/tableam.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 200000
#error "idempotency supports PostgreSQL 15 to 19"
#endif

/* 16 tells which indexes an update must enter; 15 only whether any. */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes IndexesToUpdate;
#define UPDATE_NEEDS_INDEX_ENTRY(indexes) ((indexes) != TU_None)
#else
typedef bool IndexesToUpdate;
#define UPDATE_NEEDS_INDEX_ENTRY(indexes) (indexes)
#endif

/* 17 can ask for a lock or any stronger one. */
#if PG_VERSION_NUM >= 170000
#define LOCK_IS_HELD(tag, mode) LockHeldByMe(tag, mode, false)
#else
#define LOCK_IS_HELD(tag, mode) LockHeldByMe(tag, mode)
#endif

/* 19 has a tuple descriptor finished once its columns are filled in. */
#if PG_VERSION_NUM >= 190000
#define FINISH_TUPLE_DESC(desc) TupleDescFinalize(desc)
#else
#define FINISH_TUPLE_DESC(desc) ((void) (desc))
#endif

/* 18 added the instrumentation of a scan, 19 its flags. */
static inline IndexScanDesc
begin_index_scan(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 190000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0, SO_NONE);
#elif PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

#endif							/* IDEMPOTENCY_COMPAT_H */
