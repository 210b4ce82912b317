/*-------------------------------------------------------------------------
 *
 * policy_table.c
 *	  The policies as they are stored: read, set, dropped and published.
 *
 * The table is read with a new snapshot: a policy is in force from its commit
 * on, whatever snapshot the caller's transaction has, and a concurrent change
 * is seen as a whole or not at all.  It is a catalog snapshot, which for a
 * table that is not a catalog is always a new one: no other kind of new
 * snapshot can be taken in the leader of a parallel plan, in which lookup()
 * may run.
 *
 * On Citus each node has its own table, and Citus propagates changes of
 * objects to the nodes, not those of rows.  So the policies of a cluster are a
 * function that returns them.  A change of the table on the coordinator
 * replaces the function: Citus does so on all nodes, in the same transaction,
 * or refuses, as it refuses on a worker; and a node that is added gets the
 * function, and with it the extension.  All nodes read the function and none
 * its table.  It is a function, not a view, because one that is replaced is
 * not locked against readers.  Its argument, a null, is of the table's row
 * type: so its body names neither the type nor the columns, which may be
 * changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "error.h"
#include "executor/spi.h"
#include "interval.h"
#include "key/errorfilter.h"
#include "key/keyname.h"
#include "key/policy_table.h"
#include "members.h"
#include "miscadmin.h"
#include "objects.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(idempotency_set_policy);
PG_FUNCTION_INFO_V1(idempotency_drop_policy);

static const Oid column_types[POLICY_COLUMNS] = {
	[POLICY_SCOPE] = TEXTOID,
	[POLICY_TTL] = INTERVALOID,
	[POLICY_LEASE] = INTERVALOID,
	[POLICY_WAIT] = INTERVALOID,
	[POLICY_REQUIRE_REQUEST] = BOOLOID,
	[POLICY_REQUIRE_ISSUED] = BOOLOID,
	[POLICY_MIN_KEY_LENGTH] = INT4OID,
	[POLICY_MAX_RESPONSE_BYTES] = INT4OID,
	[POLICY_CACHE_ERRORS] = TEXTARRAYOID,
};

/* Open the table, and check its columns once it is locked. */
static Relation
open_table(LOCKMODE mode)
{
	Relation	relation = table_open(objects()->policy, mode);

	(void) objects();
	check_columns("policy", RelationGetDescr(relation), column_types, POLICY_COLUMNS);
	return relation;
}

static void
read_table(void (*keep) (TupleTableSlot *tts))
{
	Relation	relation = open_table(AccessShareLock);
	TupleTableSlot *tts = table_slot_create(relation, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(relation)));
	TableScanDesc scan = begin_table_scan(relation, snapshot);

	while (table_scan_getnextslot(scan, ForwardScanDirection, tts))
		keep(tts);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(tts);
	table_close(relation, AccessShareLock);
}

/* The function, quoted and with its schema, and its argument. */
static char *
function_of(const char *argument)
{
	return psprintf("%s(%s)", quote_qualified_identifier(get_namespace_name(objects()->schema),
														 DISTRIBUTED_POLICY), argument);
}

/* Call the function as its owner; no other role may call it. */
static void
read_function(void (*keep) (TupleTableSlot *tts))
{
	TupleTableSlot *tts;
	Oid			caller;
	int			security;

	GetUserIdAndSecContext(&caller, &security);
	SetUserIdAndSecContext(objects()->owner, security | SECURITY_RESTRICTED_OPERATION);
	SPI_connect();
	PushActiveSnapshot(GetCatalogSnapshot(objects()->policy));
	if (SPI_execute(psprintf("SELECT * FROM %s", function_of("NULL")), true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read %s", DISTRIBUTED_POLICY);
	check_columns("policy", SPI_tuptable->tupdesc, column_types, POLICY_COLUMNS);
	tts = MakeSingleTupleTableSlot(SPI_tuptable->tupdesc, &TTSOpsHeapTuple);
	for (uint64 i = 0; i < SPI_processed; i++)
		keep(ExecStoreHeapTuple(SPI_tuptable->vals[i], tts, false));
	ExecDropSingleTupleTableSlot(tts);
	PopActiveSnapshot();
	SPI_finish();
	SetUserIdAndSecContext(caller, security);
}

void
read_policies(void (*keep) (TupleTableSlot *tts))
{
	if (OidIsValid(objects()->distributed_policy))
		read_function(keep);
	else
		read_table(keep);
}

/*
 * Changes of the table exclude each other, so that the function never lacks a
 * row that another transaction has stored and not yet committed.
 */
void
publish_policies(void)
{
	char	   *table = object_name(objects()->policy);
	char	   *query;

	LockRelationOid(objects()->policy, ShareRowExclusiveLock);
	query = psprintf("SELECT pg_catalog.format('CREATE OR REPLACE FUNCTION %%s RETURNS SETOF %%s LANGUAGE sql STABLE AS %%L', %s, %s,"
					 " pg_catalog.format('SELECT * FROM pg_catalog.jsonb_populate_recordset($1, %%L)',"
					 " COALESCE(pg_catalog.jsonb_agg(p ORDER BY p.scope), '[]'))) FROM %s AS p",
					 quote_literal_cstr(function_of(table)), quote_literal_cstr(table), table);
	CommandCounterIncrement();
	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute(query, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not read the policies");
	PopActiveSnapshot();
	query = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (SPI_execute(query, false, 0) != SPI_OK_UTILITY ||
		SPI_execute(psprintf("REVOKE ALL ON FUNCTION %s FROM PUBLIC", function_of(table)), false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not create %s", DISTRIBUTED_POLICY);
	SPI_finish();
}

void
unpublish_policies(void)
{
	SPI_connect();
	if (OidIsValid(objects()->distributed_policy) &&
		SPI_execute(psprintf("DROP FUNCTION %s", function_of(object_name(objects()->policy))), false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not drop %s", DISTRIBUTED_POLICY);
	SPI_finish();
}

/*
 * Call an SQL function whose statement changes the table, with the caller's
 * arguments.  The statement fires triggers, so that there must be none but the
 * extension's.
 */
static Datum
run_statement(const char *name, FunctionCallInfo caller)
{
	Relation	relation = open_table(OidIsValid(objects()->distributed_policy) ?
									  ShareRowExclusiveLock : RowExclusiveLock);
	FmgrInfo	function;
	Datum		result;
	Oid			role;
	int			security;

	LOCAL_FCINFO(call, POLICY_COLUMNS);

	check_triggers();
	fmgr_info(extension_function(name), &function);
	InitFunctionCallInfoData(*call, &function, caller->nargs, InvalidOid, NULL, NULL);
	memcpy(call->args, caller->args, caller->nargs * sizeof(NullableDatum));
	GetUserIdAndSecContext(&role, &security);
	SetUserIdAndSecContext(role, security | SECURITY_RESTRICTED_OPERATION);
	result = FunctionCallInvoke(call);
	SetUserIdAndSecContext(role, security);
	table_close(relation, NoLock);
	if (OidIsValid(objects()->distributed_policy))
		publish_policies();
	return result;
}

/*
 * set_policy(scope text, ttl interval, lease interval, wait interval,
 *			  require_request boolean, require_issued boolean,
 *			  min_key_length integer, max_response_bytes integer,
 *			  cache_errors text[])
 *
 * Creates or replaces the policy of a scope; a field that is null is
 * inherited.  Raises IK400 for a bad argument.
 */
Datum
idempotency_set_policy(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(POLICY_SCOPE))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("scope of a policy must not be null"),
				 errhint("The empty scope is the default of the database.")));
	check_scope(PG_GETARG_TEXT_PP(POLICY_SCOPE));
	(void) interval_from_arg(fcinfo, POLICY_TTL, "ttl");
	(void) policy_lease_from_arg(fcinfo, POLICY_LEASE);
	(void) wait_from_arg(fcinfo, POLICY_WAIT);
	if (!PG_ARGISNULL(POLICY_MIN_KEY_LENGTH) && PG_GETARG_INT32(POLICY_MIN_KEY_LENGTH) < 1)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("min_key_length must be one or more"),
				 errhint("Give a number of bytes, or NULL to inherit it.")));
	if (!PG_ARGISNULL(POLICY_MAX_RESPONSE_BYTES) && PG_GETARG_INT32(POLICY_MAX_RESPONSE_BYTES) < 0)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("max_response_bytes must not be negative"),
				 errhint("Give a number of bytes, or NULL to inherit it.")));
	if (!PG_ARGISNULL(POLICY_CACHE_ERRORS))
		check_error_filter(PG_GETARG_ARRAYTYPE_P(POLICY_CACHE_ERRORS));

	run_statement("store_policy", fcinfo);
	PG_RETURN_VOID();
}

/*
 * drop_policy(scope text) returns boolean
 *
 * Drops the policy of a scope; returns whether there was one.
 */
Datum
idempotency_drop_policy(PG_FUNCTION_ARGS)
{
	return run_statement("remove_policy", fcinfo);
}
