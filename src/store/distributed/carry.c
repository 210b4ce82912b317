/*-------------------------------------------------------------------------
 *
 * carry.c
 *	  Carrying live keys from one store to the other.
 *
 * distribute() and undistribute() run this with both stores locked against
 * writers, before the table is distributed or dropped.  Statements have to
 * read all rows that are committed when they begin, so they must not use an
 * older snapshot.
 *
 * Workers of a Citus cluster have a local store each.  Claims are refused
 * there unless the setting idempotency.store is "local", but keys may be
 * stored there: with that setting, or from a time before the cluster.  Those
 * of the coordinator are moved; those of workers are copied, because a worker
 * can't delete rows in the coordinator's transaction, and a rollback must not
 * lose them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "objects.h"
#include "store/distributed/carry.h"
#include "store/unfinished.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Keys that a message lists, and rows that are fetched from a worker at a time. */
#define MAX_LISTED		10
#define FETCH_ROWS		"1000"

/*
 * Where live keys are: an item of FROM, named k, with the columns of keys.  In
 * the item and in conditions on it, $1 is the current time and $2 rows of a
 * worker.
 */
typedef struct Source
{
	char	   *item;
	TimestampTz now;
	char	   *rows;			/* or NULL */
} Source;

#define LIVE	"k.expires_at OPERATOR(pg_catalog.>) $1"

void
check_carrying_is_possible(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("idempotency keys can't be moved between stores at isolation level REPEATABLE READ or SERIALIZABLE"),
				 errdetail("The transaction would not see the keys that were stored since its snapshot was taken."),
				 errhint("Use READ COMMITTED.")));
	if (unfinished_any())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("this transaction has unfinished claims of idempotency keys"),
				 errhint("Move keys between stores in a transaction of its own.")));
}

static void
run_on(const Source *source, const char *command, int expected)
{
	Oid			types[] = {TIMESTAMPTZOID, TEXTOID};
	Datum		values[] = {TimestampTzGetDatum(source->now),
	source->rows != NULL ? CStringGetTextDatum(source->rows) : (Datum) 0};
	char		nulls[] = {' ', source->rows != NULL ? ' ' : 'n', '\0'};

	if (SPI_execute_with_args(command, lengthof(types), types, values, nulls, false, 0) != expected)
		elog(ERROR, "could not run: %s", command);
}

static const text *
text_of_row(uint64 row, int column)
{
	bool		isnull;

	return DatumGetTextPP(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull));
}

static void
append_key(StringInfo list, int *count, uint64 row)
{
	if ((*count)++ < MAX_LISTED)
		appendStringInfo(list, _("%sKey \"%s\" of scope \"%s\"."), list->len > 0 ? "\n" : "",
						 key_in_message(text_of_row(row, 2)), scope_in_message(text_of_row(row, 1)));
}

/* Check that each key has a tenant, which depends on its scope only. */
static void
check_tenants(const DistributedTable *table, const Source *source)
{
	StringInfoData list;
	int			count = 0;
	Datum		tenant;

	initStringInfo(&list);
	run_on(source, psprintf("SELECT k.scope, pg_catalog.min(k.key) FROM %s WHERE " LIVE
							" GROUP BY k.scope ORDER BY k.scope", source->item), SPI_OK_SELECT);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!find_tenant(table, text_of_row(row, 1), &tenant))
			append_key(&list, &count, row);
	}
	if (count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg_plural("%d scope of stored idempotency keys names no tenant",
							   "%d scopes of stored idempotency keys name no tenant",
							   count, count),
				 errdetail_internal("%s", list.data),
				 errhint("Wait until they have expired, or purge() the scopes that may be forgotten.")));
}

/*
 * Check that the target has no row of the same key, or none of an earlier
 * claim.
 */
static void
check_absent(const char *target, const Source *source, bool earlier)
{
	StringInfoData list;
	int			count = 0;

	initStringInfo(&list);
	run_on(source, psprintf("SELECT k.scope, k.key FROM %s JOIN %s AS t ON t.hash OPERATOR(pg_catalog.=) k.hash"
							" WHERE " LIVE "%s", source->item, target,
							earlier ? " AND COALESCE(t.claimed_at, '-infinity') OPERATOR(pg_catalog.<) k.claimed_at" : ""),
		   SPI_OK_SELECT);
	for (uint64 row = 0; row < SPI_processed; row++)
		append_key(&list, &count, row);
	if (count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg_plural("%d idempotency key is remembered in two stores",
							   "%d idempotency keys are remembered in two stores", count, count),
				 errdetail_internal("%s", list.data),
				 errhint("End the claim whose result is not to be kept and forget() it, on its node and with its setting of idempotency.store.")));
}

/* Insert the live keys, with values for more columns of the target. */
static void
insert_keys(const Source *source, const char *target, const char *columns, const char *values,
			const char *on_conflict)
{
	char	   *names = column_list(COLUMNS_KEYS, NAMES);

	run_on(source, psprintf("INSERT INTO %s (%s, %s) SELECT %s, %s FROM %s WHERE " LIVE "%s",
							target, names, columns, names, values, source->item, on_conflict),
		   SPI_OK_INSERT);
}

/*
 * A worker may still have keys that were copied before: the store then has the
 * row of that claim or of a later one, which stays.
 */
static void
insert_into_distributed(const DistributedTable *table, const Source *source)
{
	check_tenants(table, source);
	check_absent(table->name, source, true);
	insert_keys(source, table->name, "row_version, tenant",
				psprintf("pg_catalog.gen_random_uuid(), %s", tenant_expression(table)),
				" ON CONFLICT (tenant, hash) DO NOTHING");
}

/* Copy the keys of a worker, in the order of their hashes. */
static void
copy_keys_of_worker(const DistributedTable *table, TimestampTz now, const char *node, const char *port)
{
	const char *keys = object_name(objects()->keys);
	const char *last = "00000000-0000-0000-0000-000000000000";
	Source		source = {.now = now,
		.item = psprintf("pg_catalog.jsonb_populate_recordset(NULL::%s, $2::pg_catalog.jsonb) AS k", keys)
	};

	for (;;)
	{
		char	   *question = psprintf("SELECT pg_catalog.jsonb_agg(k) FROM (SELECT * FROM %s"
										" WHERE expires_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()"
										" AND hash OPERATOR(pg_catalog.>) '%s'::pg_catalog.uuid"
										" ORDER BY hash LIMIT " FETCH_ROWS ") AS k", keys, last);
		char	   *command = psprintf("SELECT success, result, CASE WHEN success THEN"
									   " NULLIF(result, '')::pg_catalog.jsonb -> -1 ->> 'hash' END"
									   " FROM pg_catalog.master_run_on_worker(ARRAY[%s], ARRAY[%s], ARRAY[%s], false)",
									   quote_literal_cstr(node), port, quote_literal_cstr(question));
		HeapTuple	tuple;

		if (SPI_execute(command, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
			elog(ERROR, "could not run: %s", command);
		tuple = SPI_tuptable->vals[0];
		source.rows = SPI_getvalue(tuple, SPI_tuptable->tupdesc, 2);
		last = SPI_getvalue(tuple, SPI_tuptable->tupdesc, 3);
		if (strcmp(SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1), "t") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("could not read the idempotency keys of %s:%s", node, port),
					 errdetail_internal("%s", source.rows)));
		if (last == NULL)
			break;
		insert_into_distributed(table, &source);
	}
}

/* Copy the keys of workers that have the extension; the others get it with the policies. */
static void
copy_keys_of_workers(const DistributedTable *table, TimestampTz now)
{
	SPITupleTable *nodes;
	uint64		count;

	if (SPI_execute("SELECT nodename, nodeport, success, result FROM pg_catalog.run_command_on_workers("
					"'SELECT pg_catalog.count(*) FROM pg_catalog.pg_extension WHERE extname = ''idempotency''')",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not ask the workers of Citus");
	nodes = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
	{
		char	   *values[4];

		for (int column = 0; column < 4; column++)
			values[column] = SPI_getvalue(nodes->vals[i], nodes->tupdesc, column + 1);
		if (strcmp(values[2], "t") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("could not ask %s:%s for its idempotency keys", values[0], values[1]),
					 errdetail_internal("%s", values[3])));
		if (strcmp(values[3], "0") != 0)
			copy_keys_of_worker(table, now, values[0], values[1]);
	}
}

/* Delete expired rows, which could conflict with those carried. */
static void
delete_expired(const char *table, const Source *source)
{
	run_on(source, psprintf("DELETE FROM %s AS k WHERE NOT " LIVE, table), SPI_OK_DELETE);
}

/* The table may have been restored from the dump of another kind of machine. */
static void
correct_hashes(const DistributedTable *table, const Source *source)
{
	const char *hash = psprintf("%s.key_hash(k.key, k.scope)",
								quote_identifier(get_namespace_name(objects()->schema)));

	run_on(source, psprintf("UPDATE %s AS k SET hash = %s WHERE k.hash OPERATOR(pg_catalog.<>) %s",
							table->name, hash, hash), SPI_OK_UPDATE);
}

void
carry_to_distributed(const DistributedTable *table, bool from_workers)
{
	char	   *keys = object_name(objects()->keys);
	Source		source = {.item = psprintf("%s AS k", keys),.now = GetCurrentTimestamp()};

	delete_expired(table->name, &source);
	correct_hashes(table, &source);
	insert_into_distributed(table, &source);
	run_on(&source, psprintf("DELETE FROM %s", keys), SPI_OK_DELETE);
	if (from_workers)
		copy_keys_of_workers(table, source.now);
}

/* In keys_long a row may expire at any time. */
void
carry_to_local(const DistributedTable *table)
{
	char	   *keys = object_name(objects()->keys);
	Source		source = {.item = psprintf("%s AS k", table->name),.now = GetCurrentTimestamp()};

	delete_expired(keys, &source);
	check_absent(keys, &source, false);
	insert_keys(&source, keys, "slot", "-1", "");
}
