/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What differs between PostgreSQL 15 and 19.
 *
 * The only file that looks at PG_VERSION_NUM.  Each definition gives the rest
 * of the source one form to use; on a major that needs no adaptation the
 * definition is trivial.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_COMPAT_H
#define IDEMPOTENCY_COMPAT_H

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "utils/acl.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "commands/tablecmds.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "replication/syncrep.h"
#include "replication/walsender_private.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/smgr.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 200000
#error "idempotency supports PostgreSQL 15 to 19"
#endif

/*
 * 16 moved the access to variable-length values out of postgres.h, and has
 * input functions that report bad input without raising an error.
 */
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#include "varatt.h"
#endif

/*
 * 15 declares tree walkers without their arguments, which C23 reads as none.
 */
#if PG_VERSION_NUM < 160000
#include "nodes/nodeFuncs.h"
#define expression_tree_walker(node, walker, context) \
	expression_tree_walker(node, (bool (*) ()) (void (*) (void)) (walker), context)
#define query_tree_walker(query, walker, context, flags) \
	query_tree_walker(query, (bool (*) ()) (void (*) (void)) (walker), context, flags)
#endif

/*
 * 16 tells which indexes an update must enter, all or those that summarize
 * pages; 15 only whether all.
 */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes IndexesToUpdate;
#define UPDATE_NEEDS_INDEX_ENTRY(indexes) ((indexes) == TU_All)
#define UPDATE_NEEDS_SUMMARY(indexes) ((indexes) == TU_Summarizing)
#define INDEX_SUMMARIZES(info) ((info)->ii_Summarizing)
#else
typedef bool IndexesToUpdate;
#define UPDATE_NEEDS_INDEX_ENTRY(indexes) (indexes)
#define UPDATE_NEEDS_SUMMARY(indexes) ((void) (indexes), false)
#define INDEX_SUMMARIZES(info) ((void) (info), false)
#endif

/* 17 can ask for a lock or any stronger one. */
#if PG_VERSION_NUM >= 170000
#define LOCK_IS_HELD(tag, mode) LockHeldByMe(tag, mode, false)
#else
#define LOCK_IS_HELD(tag, mode) LockHeldByMe(tag, mode)
#endif

/* A number below MaxBackends that no other backend has; 17 counts from zero. */
#if PG_VERSION_NUM >= 170000
#define BACKEND_NUMBER MyProcNumber
#else
#define BACKEND_NUMBER (MyBackendId - 1)
#endif

/* 19 made a type of the numbers of the syscaches. */
#if PG_VERSION_NUM >= 190000
typedef SysCacheIdentifier CacheNumber;
#else
typedef int CacheNumber;
#endif

/* 19 requires a call when the columns of a tuple descriptor are filled in. */
#if PG_VERSION_NUM >= 190000
#define FINISH_TUPLE_DESC(desc) TupleDescFinalize(desc)
#else
#define FINISH_TUPLE_DESC(desc) ((void) (desc))
#endif

/* 18 added the instrumentation of an index scan, 19 the flags of any scan. */
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

/* 17 lets an index keep things open between insertions. */
static inline void
finish_index_insert(Relation index, struct IndexInfo *info)
{
#if PG_VERSION_NUM >= 170000
	index_insert_cleanup(index, info);
#endif
}

static inline TableScanDesc
begin_table_scan(Relation relation, Snapshot snapshot)
{
#if PG_VERSION_NUM >= 190000
	return table_beginscan(relation, snapshot, 0, NULL, SO_NONE);
#else
	return table_beginscan(relation, snapshot, 0, NULL);
#endif
}

/* 16 merged the privilege checks into one function. */
static inline AclResult
function_aclcheck(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE);
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE);
#endif
}

/*
 * Read a value of a type by its input function; false if the string is not a
 * valid value.  Input functions of 16 report that without raising an error.
 * Catching the error outside a subtransaction, as 15 requires, is safe for a
 * function that only reads its argument and allocates memory.
 */
static inline bool
read_value(Oid type, char *text, Datum *result)
{
	Oid			input;
	Oid			parameter;

	getTypeInputInfo(type, &input, &parameter);
#if PG_VERSION_NUM >= 160000
	{
		ErrorSaveContext refusal = {.type = T_ErrorSaveContext};
		FmgrInfo	function;

		fmgr_info(input, &function);
		return InputFunctionCallSafe(&function, text, parameter, -1,
									 (struct Node *) &refusal, result);
	}
#else
	{
		MemoryContext context = CurrentMemoryContext;
		volatile bool read = false;

		PG_TRY();
		{
			*result = OidInputFunctionCall(input, text, parameter, -1);
			read = true;
		}
		PG_CATCH();
		{
			if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
				PG_RE_THROW();
			MemoryContextSwitchTo(context);
			FlushErrorState();
		}
		PG_END_TRY();
		return read;
	}
#endif
}

static inline TableScanDesc
begin_tid_range_scan(Relation heap, Snapshot snapshot, ItemPointer from, ItemPointer to)
{
#if PG_VERSION_NUM >= 190000
	return table_beginscan_tidrange(heap, snapshot, from, to, SO_NONE);
#else
	return table_beginscan_tidrange(heap, snapshot, from, to);
#endif
}

/*
 * Delete a row that was read, and is still pinned.  Returns false, without
 * waiting, if another transaction has replaced, deleted or locked the row, or
 * is about to.  19 has flags in place of the last argument.
 */
static inline bool
delete_tuple_if_free(Relation heap, ItemPointer tid)
{
	CommandId	command = GetCurrentCommandId(true);
	TM_FailureData failure;

#if PG_VERSION_NUM >= 190000
	return table_tuple_delete(heap, tid, command, 0, InvalidSnapshot, InvalidSnapshot,
							  false, &failure) == TM_Ok;
#else
	return table_tuple_delete(heap, tid, command, InvalidSnapshot, InvalidSnapshot,
							  false, &failure, false) == TM_Ok;
#endif
}

/* 16 added the role whose privileges triggers get; here it is the caller. */
static inline void
truncate_guts(List *relations, List *relids, List *relids_logged)
{
#if PG_VERSION_NUM >= 160000
	ExecuteTruncateGuts(relations, relids, relids_logged, DROP_RESTRICT, false, false);
#else
	ExecuteTruncateGuts(relations, relids, relids_logged, DROP_RESTRICT, false);
#endif
}

/*
 * Add a page of zeros to a table; it is initialized when the first row is put
 * on it.  In 16 the buffer manager does this.
 */
static inline void
add_empty_page(Relation heap)
{
#if PG_VERSION_NUM >= 160000
	UnlockReleaseBuffer(ExtendBufferedRel(BMR_REL(heap), MAIN_FORKNUM, NULL, EB_LOCK_FIRST));
#else
	LockRelationForExtension(heap, ExclusiveLock);
	UnlockReleaseBuffer(ReadBufferExtended(heap, MAIN_FORKNUM, P_NEW, RBM_ZERO_AND_LOCK, NULL));
	UnlockRelationForExtension(heap, ExclusiveLock);
#endif
}

/*
 * The number of pages of a locked table, from its row in pg_class.  16 and 17
 * renamed the identifier of its file.
 */
static inline BlockNumber
pages_of_table(Form_pg_class table)
{
#if PG_VERSION_NUM >= 160000
	RelFileLocator file = {
		.spcOid = OidIsValid(table->reltablespace) ? table->reltablespace : MyDatabaseTableSpace,
		.dbOid = MyDatabaseId,
		.relNumber = table->relfilenode
	};
#else
	RelFileNode file = {
		.spcNode = OidIsValid(table->reltablespace) ? table->reltablespace : MyDatabaseTableSpace,
		.dbNode = MyDatabaseId,
		.relNode = table->relfilenode
	};
#endif
#if PG_VERSION_NUM >= 170000
	return smgrnblocks(smgropen(file, INVALID_PROC_NUMBER), MAIN_FORKNUM);
#else
	return smgrnblocks(smgropen(file, InvalidBackendId), MAIN_FORKNUM);
#endif
}

/* Whether this backend holds the lock in any mode. */
static inline bool
lock_held_by_me(const LOCKTAG *tag)
{
	for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; mode++)
	{
		if (LOCK_IS_HELD(tag, mode))
			return true;
	}
	return false;
}

/* 17 lets an extension name what it waits for. */
static inline uint32
new_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	return PG_WAIT_EXTENSION;
#endif
}

/*
 * Whether commits wait for synchronous standbys.  In recent minors of each
 * major this is unknown until the checkpointer has read the settings.
 */
static inline bool
sync_standbys_defined(void)
{
#ifdef SYNC_STANDBY_DEFINED
	int			status = WalSndCtl->sync_standbys_status;

	if ((status & SYNC_STANDBY_INIT) == 0)
		return SyncRepStandbyNames != NULL && SyncRepStandbyNames[0] != '\0';
	return (status & SYNC_STANDBY_DEFINED) != 0;
#else
	return WalSndCtl->sync_standbys_defined;
#endif
}

/* 17 has a limit for the duration of a transaction. */
#define HAVE_TRANSACTION_TIMEOUT	(PG_VERSION_NUM >= 170000)

/* 19 can end a worker whose database is to be dropped, renamed or copied. */
#if PG_VERSION_NUM >= 190000
#define WORKER_GIVES_WAY	BGWORKER_INTERRUPTIBLE
#else
#define WORKER_GIVES_WAY	0
#endif

/*
 * Whether DROP DATABASE was interrupted; the first minors did not record it.
 */
static inline bool
database_is_invalid(Form_pg_database database)
{
#ifdef DATCONNLIMIT_INVALID_DB
	return database->datconnlimit == DATCONNLIMIT_INVALID_DB;
#else
	return false;
#endif
}

#endif							/* IDEMPOTENCY_COMPAT_H */
