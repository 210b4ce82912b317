/*-------------------------------------------------------------------------
 *
 * distributed_scan.c
 *	  Many rows of the distributed store at once.
 *
 * purge() and erase_scope() are statements on all rows of a scope and of those
 * below it, of any tenant.  They wait for transactions that work on a row and
 * judge by its new version; a key that is claimed meanwhile may stay, as in
 * the local store.  Each row is found by one of the statements of purge(): if
 * a late owner ends a claim between two of them, its row has a result, and the
 * next deletes it.
 *
 * The sweeper deletes up to 2,000 expired rows of each shard with a statement
 * that the shard's server runs and commits by itself: many tenants at once,
 * and no row stays locked for long.  A deletion on a placement that has just
 * moved away is lost, and repeated in the next round.
 *
 *		- A works on an expired row, to claim it again or as a late owner, and
 *		  may be the sweeper's own transaction: the row is locked, and skipped.
 *		- A has claimed the key again since the statement began: the row is locked
 *		  in its latest version, which has not expired, and stays.
 *		- The sweeper has deleted a row and not committed: a claim of that key
 *		  waits for the end of the shard's transaction, in which little is deleted.
 *
 * A plain table is swept by the same statement in the sweeper's transaction,
 * which leaves out what it has written itself.
 *
 * Every node has the extension, but only the coordinator sweeps the table.  It
 * does so as the table's owner, on all nodes: a trigger or an index of a shard
 * then has the privileges of the role that can make one, not those of the
 * worker.  All names in the statement are qualified, so no node's search path
 * matters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "citus.h"
#include "store/distributed/row_version.h"
#include "store/distributed/statement.h"
#include "store/distributed/distributed_scan.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Rows that are read at a time. */
#define FETCH_ROWS		1000

/* Expired rows of each shard that are deleted in one step. */
#define ROWS_OF_A_SHARD	2000

/* ----------------------------------------------------------------
 *		All keys of a scope
 * ----------------------------------------------------------------
 */

/* The parameters: scope, current time, the transaction's versions, a new one. */
#define OF_SCOPE		"(scope OPERATOR(pg_catalog.=) $1 OR pg_catalog.starts_with(scope, $1 OPERATOR(pg_catalog.||) '/'))"
#define LIVE			"expires_at OPERATOR(pg_catalog.>) $2"
#define CLAIMED_HERE	"(claim_version IS NOT NULL AND claim_version OPERATOR(pg_catalog.>=) $3" \
						" AND claim_version OPERATOR(pg_catalog.<=) $4)"
#define NEW_VERSION		"row_version = $5"
#define IN_PROGRESS		"status OPERATOR(pg_catalog.=) 'in_progress'"
#define UNFINISHED		"(" IN_PROGRESS " AND lease_until IS NULL AND " CLAIMED_HERE ")"

/* The conditions of fences_owner() and forget_held_key() (remove.c). */
#define FENCES_OWNER	"((" IN_PROGRESS " OR (status OPERATOR(pg_catalog.=) 'released' AND lease_until IS NOT NULL))" \
						" AND NOT (" CLAIMED_HERE " AND attempt OPERATOR(pg_catalog.=) 1))"
#define KEEP_ATTEMPT	"UPDATE %s SET " NEW_VERSION ", status = 'released', status_code = NULL, fingerprint = NULL," \
						" resource_id = NULL, response = NULL, recovery_point = NULL, state = NULL," \
						" lease_until = GREATEST(lease_until, $2), completed_at = NULL"

/* Run a command on the keys of the scope and below it; returns their number. */
static int64
work_on_scope(const DistributedTable *table, const text *scope, TimestampTz now,
			  const char *command, const char *which)
{
	pg_uuid_t	lowest;
	pg_uuid_t	highest;
	pg_uuid_t	version;
	Oid			types[] = {TEXTOID, TIMESTAMPTZOID, UUIDOID, UUIDOID, UUIDOID};
	Datum		values[] = {PointerGetDatum(scope), TimestampTzGetDatum(now),
	UUIDPGetDatum(&lowest), UUIDPGetDatum(&highest), UUIDPGetDatum(&version)};
	char	   *sql = psprintf("%s WHERE " OF_SCOPE " AND %s", psprintf(command, table->name), which);

	own_versions(&lowest, &highest);
	new_version(&version);
	forget_memories();
	if (SPI_execute_with_args(sql, lengthof(types), types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not run: %s", sql);
	return SPI_processed;
}

int64
distributed_purge(Store *store, const text *scope, WorkOnKey forget)
{
	static const char *const keep_attempt = KEEP_ATTEMPT;
	static const char *const delete = "DELETE FROM %s";
	const DistributedTable *table = distributed_table(RowExclusiveLock);
	TimestampTz now = GetCurrentTimestamp();
	int64		unfinished;
	int64		purged;
	int			nest_level;

	SPI_connect();
	nest_level = begin_as_caller(table);
	unfinished = work_on_scope(table, scope, now, keep_attempt, UNFINISHED " AND " LIVE " AND " FENCES_OWNER) +
		work_on_scope(table, scope, now, delete, UNFINISHED);
	purged = unfinished +
		work_on_scope(table, scope, now, keep_attempt, IN_PROGRESS " AND " LIVE " AND " FENCES_OWNER) +
		work_on_scope(table, scope, now, delete, LIVE " AND NOT " FENCES_OWNER);
	(void) work_on_scope(table, scope, now, delete, "NOT " LIVE);
	end_as_caller(nest_level);
	SPI_finish();
	if (unfinished > 0)
		unfinished_change(-unfinished);
	return purged;
}

int64
distributed_erase_scope(Store *store, const text *scope, WorkOnKey erase)
{
	const DistributedTable *table = distributed_table(RowExclusiveLock);
	int64		erased;
	int			nest_level;

	SPI_connect();
	nest_level = begin_as_caller(table);
	erased = work_on_scope(table, scope, GetCurrentTimestamp(),
						   "UPDATE %s SET " NEW_VERSION ", status = 'erased', fingerprint = NULL, response = NULL, state = NULL",
						   LIVE " AND status IN ('completed', 'failed')");
	end_as_caller(nest_level);
	SPI_finish();
	return erased;
}

/* ----------------------------------------------------------------
 *		Reading
 * ----------------------------------------------------------------
 */

static void
visit_tuple(HeapTuple tuple, TupleDesc desc, const IdempotencyKey *of, VisitClaim visit,
			void *argument)
{
	Datum		values[DISTRIBUTED_RESULTS];
	bool		isnull[DISTRIBUTED_RESULTS];
	IdempotencyKey key;
	KeyRow		row;

	heap_deform_tuple(tuple, desc, values, isnull);
	distributed_row(&key, &row, values, isnull);
	if (of == NULL || same_key(of, &key))
		visit(&key, &row, row.own ? GetTopTransactionIdIfAny() : InvalidTransactionId,
			  false, argument);
}

void
distributed_visit_unfinished(Store *store, const IdempotencyKey *of, TimestampTz now,
							 VisitClaim visit, void *argument)
{
	const DistributedTable *table = distributed_table(AccessShareLock);
	Oid			type = TIMESTAMPTZOID;
	Datum		value = TimestampTzGetDatum(now);
	char	   *sql = psprintf("SELECT %s FROM %s WHERE status OPERATOR(pg_catalog.=) 'in_progress'"
							   " AND expires_at OPERATOR(pg_catalog.>) $1",
							   result_list(), table->name);
	Portal		cursor;
	int			nest_level;

	SPI_connect();
	nest_level = begin_as_caller(table);
	cursor = SPI_cursor_open_with_args(NULL, sql, 1, &type, &value, NULL, false,
									   CURSOR_OPT_NO_SCROLL);
	for (;;)
	{
		SPI_cursor_fetch(cursor, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			CHECK_FOR_INTERRUPTS();
			visit_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, of, visit,
						argument);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(cursor);
	end_as_caller(nest_level);
	SPI_finish();
}

/* ----------------------------------------------------------------
 *		Sweeping
 * ----------------------------------------------------------------
 */

/*
 * Delete some expired rows, no more than the given number of each shard, and
 * add their number to *deleted.  Rows on which a transaction works are
 * skipped.  A shard that can't be reached is left for another round.  Returns
 * whether there may be more.
 */
static bool
delete_expired(TimestampTz now, int64 most, int64 *deleted)
{
	const DistributedTable *table = distributed_table(RowExclusiveLock);
	pg_uuid_t	lowest;
	pg_uuid_t	highest;
	char	   *command;
	bool		more = false;
	int			nest_level;

	if (!citus_is_coordinator())
		return false;
	own_versions(&lowest, &highest);
	SPI_connect();
	nest_level = begin_as_caller(table);
	command = psprintf("WITH deleted AS (DELETE FROM %1$s WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
					   "SELECT ctid FROM %1$s WHERE expires_at OPERATOR(pg_catalog.<=) '%2$s'::pg_catalog.timestamptz"
					   " AND (row_version OPERATOR(pg_catalog.<) '%3$s'::pg_catalog.uuid"
					   " OR row_version OPERATOR(pg_catalog.>) '%4$s'::pg_catalog.uuid)"
					   " LIMIT %5$lld FOR UPDATE SKIP LOCKED)) RETURNING 1)"
					   " SELECT pg_catalog.count(*)%6$s FROM deleted",
					   table->on_citus ? "%1$s" : table->name,
					   DatumGetCString(DirectFunctionCall1(timestamptz_out, TimestampTzGetDatum(now))),
					   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&lowest))),
					   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&highest))),
					   (long long) most, table->on_citus ? "" : ", true");
	if (table->on_citus)
		command = psprintf("SELECT result, success, shardid FROM pg_catalog.run_command_on_shards(%u, %s)",
						   table->relid, quote_literal_cstr(command));
	if (SPI_execute(command, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not delete expired idempotency keys");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *result = SPI_getvalue(tuple, desc, 1);
		bool		isnull;

		if (DatumGetBool(SPI_getbinval(tuple, desc, 2, &isnull)))
		{
			int64		of_shard = strtoi64(result, NULL, 10);

			*deleted += of_shard;
			more |= of_shard == most;
		}
		else
			ereport(WARNING,
					(errmsg("could not delete expired idempotency keys of shard %s", SPI_getvalue(tuple, desc, 3)),
					 errdetail_internal("%s", result)));
	}
	end_as_caller(nest_level);
	SPI_finish();
	return more;
}

bool
distributed_expire(Expiry *expiry)
{
	int64		deleted = 0;
	Oid			caller;
	int			security;

	if (expiry->rows_left == 0 || expiry->distributed_done ||
		!OidIsValid(objects()->distributed_keys))
		return false;
	GetUserIdAndSecContext(&caller, &security);
	SetUserIdAndSecContext(objects()->owner, security | SECURITY_LOCAL_USERID_CHANGE);
	expiry->distributed_done = !delete_expired(GetCurrentTimestamp(),
											   Min(expiry->rows_left, ROWS_OF_A_SHARD),
											   &deleted);
	SetUserIdAndSecContext(caller, security);
	expiry->rows_deleted += deleted;
	expiry->rows_left -= Min(deleted, expiry->rows_left);
	return !expiry->distributed_done;
}
