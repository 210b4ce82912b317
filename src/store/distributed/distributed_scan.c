/*-------------------------------------------------------------------------
 *
 * distributed_scan.c
 *	  Many rows of the distributed store at once.
 *
 * purge() and erase_scope() are statements on all rows of a scope and of those
 * below it, whose tenants may be any.  They wait for whoever is at work on a row
 * and judge by what there is then; a key that is claimed meanwhile may stay, as in
 * the local store.  Each row is found by one of the statements of purge(): one that
 * a late owner ends in between is one with a result, and deleted by the next.
 *
 * The sweeper reads which keys have expired, some hundreds of them, and deletes
 * those of each tenant by one statement, which asks once more whether they
 * have.  So what has been claimed again since stays, and what has moved to
 * another server in between is found there.
 *
 *		- A has an expired row under its hands, reclaiming it or coming late:
 *		  the sweeper waits for A some milliseconds, and then tries the rows one
 *		  by one, each for a millisecond.  A's row stays; A is not kept waiting
 *		  longer than that by the rows that the sweeper has locked.
 *		- Its own transaction has claimed a key that has expired since: that one is
 *		  not among those read.
 *		- The sweeper has deleted a row and not committed: a claim of that key
 *		  waits for the end of its transaction, in which little is deleted.
 *
 * Every node has the extension, but one sweeps the table: the coordinator.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "store/citus.h"
#include "store/distributed/row_version.h"
#include "store/distributed/statement.h"
#include "store/distributed/distributed_scan.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/memutils.h"

/* How long the rows of a tenant, and a single row, are waited for. */
#define ROWS_WAIT_MS	20
#define ROW_WAIT_MS		1

/* Rows that are read in one go. */
#define FETCH_ROWS		1000

/* ----------------------------------------------------------------
 *		All keys of a scope
 * ----------------------------------------------------------------
 */

/* The parameters: scope, present time, the transaction's versions, a new one. */
#define OF_SCOPE		"(scope OPERATOR(pg_catalog.=) $1 OR pg_catalog.starts_with(scope, $1 OPERATOR(pg_catalog.||) '/'))"
#define LIVE			"expires_at OPERATOR(pg_catalog.>) $2"
#define CLAIMED_HERE	"(claim_version IS NOT NULL AND claim_version OPERATOR(pg_catalog.>=) $3" \
						" AND claim_version OPERATOR(pg_catalog.<=) $4)"
#define NEW_VERSION		"row_version = $5"
#define IN_PROGRESS		"status OPERATOR(pg_catalog.=) 'in_progress'"
#define UNFINISHED		"(" IN_PROGRESS " AND lease_until IS NULL AND " CLAIMED_HERE ")"

/* As fences_owner() and forget_held_key() have it (remove.c). */
#define FENCES_OWNER	"((" IN_PROGRESS " OR (status OPERATOR(pg_catalog.=) 'released' AND lease_until IS NOT NULL))" \
						" AND NOT (" CLAIMED_HERE " AND attempt OPERATOR(pg_catalog.=) 1))"
#define KEEP_ATTEMPT	"UPDATE %s SET " NEW_VERSION ", status = 'released', status_code = NULL, fingerprint = NULL," \
						" resource_id = NULL, response = NULL, recovery_point = NULL, state = NULL," \
						" lease_until = GREATEST(lease_until, $2), completed_at = NULL"

/* Run a command on the keys of the scope and below it; returns how many they were. */
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
	StringInfoData sql;

	own_versions(&lowest, &highest);
	new_version(&version);
	initStringInfo(&sql);
	appendStringInfo(&sql, command, table->name);
	appendStringInfo(&sql, " WHERE " OF_SCOPE " AND %s", which);
	if (SPI_execute_with_args(sql.data, lengthof(types), types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not run: %s", sql.data);
	return SPI_processed;
}

int64
distributed_purge(const text *scope)
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
distributed_erase_scope(const text *scope)
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
visit_tuple(HeapTuple tuple, TupleDesc desc, VisitRow visit, void *argument)
{
	Datum		values[DISTRIBUTED_RESULTS];
	bool		isnull[DISTRIBUTED_RESULTS];
	IdempotencyKey key;
	KeyRow		row;

	heap_deform_tuple(tuple, desc, values, isnull);
	distributed_row(&row, values, isnull);
	key.scope = DatumGetTextPP(keyrow_required(values[KEYS_SCOPE], isnull[KEYS_SCOPE]));
	key.name = DatumGetTextPP(keyrow_required(values[KEYS_KEY], isnull[KEYS_KEY]));
	key.hash = *DatumGetUUIDP(keyrow_required(values[KEYS_HASH], isnull[KEYS_HASH]));
	visit(&key, &row, argument);
}

void
distributed_unfinished(TimestampTz now, VisitRow visit, void *argument)
{
	const DistributedTable *table = distributed_table(AccessShareLock);
	Oid			type = TIMESTAMPTZOID;
	Datum		value = TimestampTzGetDatum(now);
	StringInfoData sql;
	Portal		cursor;
	int			nest_level;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	append_results(&sql);
	appendStringInfo(&sql, " FROM %s"
					 " WHERE status OPERATOR(pg_catalog.=) 'in_progress' AND expires_at OPERATOR(pg_catalog.>) $1",
					 table->name);
	SPI_connect();
	nest_level = begin_as_caller(table);
	cursor = SPI_cursor_open_with_args(NULL, sql.data, 1, &type, &value, NULL, false,
									   CURSOR_OPT_NO_SCROLL);
	for (;;)
	{
		SPI_cursor_fetch(cursor, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			CHECK_FOR_INTERRUPTS();
			visit_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, visit, argument);
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

/* The expired keys of a tenant, or some of them. */
typedef struct Expired
{
	const DistributedTable *table;
	Datum		tenant;
	ArrayType  *hashes;
	TimestampTz now;
	int			lock_timeout;	/* the session's */
	int64		deleted;		/* so far */
} Expired;

static void
delete_expired(void *argument)
{
	Expired    *expired = argument;
	Oid			types[] = {expired->table->tenant_type, UUIDARRAYOID, TIMESTAMPTZOID};
	Datum		values[] = {expired->tenant, PointerGetDatum(expired->hashes), TimestampTzGetDatum(expired->now)};

	SPI_connect();
	pass_on_lock_timeout(expired->table, expired->lock_timeout);
	if (SPI_execute_with_args(psprintf("DELETE FROM %s"
									   " WHERE tenant OPERATOR(pg_catalog.=) $1 AND hash OPERATOR(pg_catalog.=) ANY ($2)"
									   " AND expires_at OPERATOR(pg_catalog.<=) $3",
									   expired->table->name),
							  3, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete expired idempotency keys");
	expired->deleted += SPI_processed;
	take_back_lock_timeout(expired->table, expired->lock_timeout);
	SPI_finish();
}

/* Returns false where the time ran out. */
static bool
delete_within(Expired *expired, int64 ms)
{
	Interval	wait = {.time = ms * 1000};
	WaitLimit	limit;

	wait_at_most(&limit, &wait);
	expired->lock_timeout = LockTimeout;
	return run_within(&limit, ROW_WAIT_MS, delete_expired, expired);
}

/* Delete a tenant's expired rows, together or else one by one. */
static void
delete_of_tenant(Expired *expired)
{
	Datum	   *hashes;
	int			count;

	if (delete_within(expired, ROWS_WAIT_MS))
		return;
	deconstruct_array(expired->hashes, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR,
					  &hashes, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		expired->hashes = construct_array(&hashes[i], 1, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
		(void) delete_within(expired, ROW_WAIT_MS);
	}
}

bool
distributed_delete_expired(TimestampTz now, int64 most, int64 *deleted)
{
	pg_uuid_t	lowest;
	pg_uuid_t	highest;
	Oid			types[] = {TIMESTAMPTZOID, UUIDOID, UUIDOID};
	Datum		values[] = {TimestampTzGetDatum(now), UUIDPGetDatum(&lowest), UUIDPGetDatum(&highest)};
	Expired		expired = {.table = distributed_table(RowExclusiveLock),.now = now};
	char	   *query;
	SPITupleTable *tenants;
	uint64		tenant_count;
	int			nest_level;

	if (!citus_is_coordinator())
		return false;
	own_versions(&lowest, &highest);
	SPI_connect();
	nest_level = begin_as_caller(expired.table);
	query = psprintf("SELECT tenant, pg_catalog.array_agg(hash) FROM "
					 "(SELECT tenant, hash FROM %s"
					 " WHERE expires_at OPERATOR(pg_catalog.<=) $1"
					 " AND (row_version OPERATOR(pg_catalog.<) $2 OR row_version OPERATOR(pg_catalog.>) $3)"
					 " LIMIT " INT64_FORMAT ") AS expired GROUP BY tenant",
					 expired.table->name, most);
	if (SPI_execute_with_args(query, 3, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read expired idempotency keys");
	tenants = SPI_tuptable;
	tenant_count = SPI_processed;
	for (uint64 i = 0; i < tenant_count; i++)
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		expired.tenant = SPI_getbinval(tenants->vals[i], tenants->tupdesc, 1, &isnull);
		expired.hashes = DatumGetArrayTypeP(SPI_getbinval(tenants->vals[i], tenants->tupdesc, 2, &isnull));
		delete_of_tenant(&expired);
	}
	end_as_caller(nest_level);
	SPI_finish();
	*deleted += expired.deleted;
	return expired.deleted == most;
}
