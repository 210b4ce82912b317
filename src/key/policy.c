/*-------------------------------------------------------------------------
 *
 * policy.c
 *	  The rules for the keys of a scope.
 *
 * The policies that apply to a scope are those whose own scope equals it or is
 * a prefix of it that ends at a '/'.  Each field is taken from the policy with
 * the longest scope that sets the field, and from the settings if none does.
 *
 * A backend keeps the whole table in memory, so that a claim looks up at most
 * two entries for each '/' of its scope, and none if there is no policy.  The
 * hash of a prefix continues the hash of the next shorter one.  A trigger on
 * the table announces changes on commit to all backends by relcache messages,
 * which are accepted before each look-up.  The table is read with a new
 * snapshot: a policy is in force from its commit on, whatever snapshot the
 * caller's transaction has, and a concurrent change is seen as a whole or not
 * at all.  It is a catalog snapshot, which for a table that is not a catalog
 * is always a new one: no other kind of new snapshot can be taken in the
 * leader of a parallel plan, in which lookup() may run.
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
#include "common/hashfn.h"
#include "compat.h"
#include "error.h"
#include "key/errorfilter.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "guc.h"
#include "key/keyname.h"
#include "objects.h"
#include "key/policy.h"
#include "members.h"
#include "miscadmin.h"
#include "interval.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(idempotency_set_policy);
PG_FUNCTION_INFO_V1(idempotency_drop_policy);

enum
{
	POLICY_SCOPE,
	POLICY_TTL,
	POLICY_LEASE,
	POLICY_WAIT,
	POLICY_REQUIRE_REQUEST,
	POLICY_REQUIRE_ISSUED,
	POLICY_MIN_KEY_LENGTH,
	POLICY_MAX_RESPONSE_BYTES,
	POLICY_CACHE_ERRORS,
	POLICY_COLUMNS
};

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

typedef struct StoredPolicy
{
	uint64		scope_hash;		/* hash key */
	struct StoredPolicy *next;	/* of the same hash */
	text	   *scope;
	StatsEntry *stats;			/* NULL: not asked for yet */
	const char *out_of_range;	/* name of a column, or NULL */
	Datum		values[POLICY_COLUMNS];
	bool		isnull[POLICY_COLUMNS];
} StoredPolicy;

static HTAB *known = NULL;
static MemoryContext known_context = NULL;
static uint64 known_generation = 0;

/* Counters of the scopes that no policy covers. */
static StatsEntry *stats_without_policy = NULL;

/*
 * The next longer prefix that may be the scope of a policy: it ends before or
 * after a '/', or is the whole scope.  On entry the hash is that of the
 * shorter prefix, on return that of the longer one.
 */
static int
next_prefix(const char *scope, int length, int prefix, uint64 *hash)
{
	int			next = prefix + 1;

	while (next < length && scope[next] != '/' && scope[next - 1] != '/')
		next++;
	*hash = hash_bytes_extended((const unsigned char *) scope + prefix, next - prefix, *hash);
	return next;
}

static uint64
hash_scope(const char *scope, int length)
{
	uint64		hash = 0;

	for (int prefix = 0; prefix < length;)
	{
		CHECK_FOR_INTERRUPTS();
		prefix = next_prefix(scope, length, prefix, &hash);
	}
	return hash;
}

static bool
in_range(const StoredPolicy *policy, int column, double least)
{
	double		length;

	if (policy->isnull[column])
		return true;
	length = interval_usecs(DatumGetIntervalP(policy->values[column]));
	return length >= least && length <= MAX_INTERVAL_USECS;
}

/*
 * The column whose value set_policy() would have refused; NULL if there is
 * none.  The table may have been changed by hand, and its constraints may have
 * been dropped.
 */
static const char *
column_out_of_range(const StoredPolicy *policy)
{
	if (!in_range(policy, POLICY_TTL, 1))
		return "ttl";
	if (!in_range(policy, POLICY_LEASE, 0))
		return "lease";
	if (!in_range(policy, POLICY_WAIT, 0))
		return "wait";
	if (!policy->isnull[POLICY_MIN_KEY_LENGTH] &&
		DatumGetInt32(policy->values[POLICY_MIN_KEY_LENGTH]) < 1)
		return "min_key_length";
	if (!policy->isnull[POLICY_MAX_RESPONSE_BYTES] &&
		DatumGetInt32(policy->values[POLICY_MAX_RESPONSE_BYTES]) < 0)
		return "max_response_bytes";
	return NULL;
}

/* A row without a scope is ignored. */
static void
keep_policy(TupleTableSlot *tts)
{
	TupleDesc	desc = tts->tts_tupleDescriptor;
	MemoryContext caller;
	StoredPolicy *policy;
	StoredPolicy *entry;
	bool		found;

	slot_getallattrs(tts);
	if (tts->tts_isnull[POLICY_SCOPE])
		return;
	caller = MemoryContextSwitchTo(known_context);
	if (known == NULL)
	{
		HASHCTL		control = {
			.keysize = sizeof(uint64),
			.entrysize = sizeof(StoredPolicy),
			.hcxt = known_context
		};

		known = hash_create("idempotency policies", 16, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	policy = palloc(sizeof(StoredPolicy));
	for (int column = 0; column < POLICY_COLUMNS; column++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, column);
		Datum		value = tts->tts_values[column];

		policy->isnull[column] = tts->tts_isnull[column];
		if (policy->isnull[column])
			continue;
		if (attribute->attlen == -1)
			value = PointerGetDatum(PG_DETOAST_DATUM(value));
		policy->values[column] = datumCopy(value, attribute->attbyval, attribute->attlen);
	}
	policy->scope = DatumGetTextPP(policy->values[POLICY_SCOPE]);
	policy->scope_hash = hash_scope(VARDATA_ANY(policy->scope),
									VARSIZE_ANY_EXHDR(policy->scope));
	policy->stats = NULL;
	policy->out_of_range = column_out_of_range(policy);

	entry = hash_search(known, &policy->scope_hash, HASH_ENTER, &found);
	policy->next = found ? entry->next : NULL;
	entry->next = policy;
	MemoryContextSwitchTo(caller);
}

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
read_table(void)
{
	Relation	relation = open_table(AccessShareLock);
	TupleTableSlot *tts = table_slot_create(relation, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(relation)));
	TableScanDesc scan = begin_table_scan(relation, snapshot);

	while (table_scan_getnextslot(scan, ForwardScanDirection, tts))
		keep_policy(tts);
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
read_function(void)
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
		keep_policy(ExecStoreHeapTuple(SPI_tuptable->vals[i], tts, false));
	ExecDropSingleTupleTableSlot(tts);
	PopActiveSnapshot();
	SPI_finish();
	SetUserIdAndSecContext(caller, security);
}

static void
read_policies(void)
{
	if (known_context == NULL)
		known_context = AllocSetContextCreate(CacheMemoryContext,
											  "idempotency policies",
											  ALLOCSET_SMALL_SIZES);
	known = NULL;
	MemoryContextReset(known_context);
	if (OidIsValid(objects()->distributed_policy))
		read_function();
	else
		read_table();
}

static StoredPolicy *
find_policy(const char *scope, int length, uint64 hash)
{
	StoredPolicy *entry = hash_search(known, &hash, HASH_FIND, NULL);

	for (StoredPolicy *policy = entry ? entry->next : NULL; policy; policy = policy->next)
	{
		if ((int) VARSIZE_ANY_EXHDR(policy->scope) == length &&
			memcmp(VARDATA_ANY(policy->scope), scope, length) == 0)
			return policy;
	}
	return NULL;
}

/* Override the fields that the stored policy sets. */
static void
apply_policy(Policy *policy, const StoredPolicy *stored)
{
	if (stored->out_of_range != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("policy of scope \"%s\" is out of range", scope_in_message(stored->scope)),
				 errdetail("set_policy() would refuse its %s.", stored->out_of_range),
				 errhint("Replace the policy with idempotency.set_policy().")));
#define SAYS(column) (!stored->isnull[column])
#define VALUE(column) (stored->values[column])
	if (SAYS(POLICY_TTL))
		policy->ttl = *DatumGetIntervalP(VALUE(POLICY_TTL));
	if (SAYS(POLICY_LEASE))
		policy->lease = *DatumGetIntervalP(VALUE(POLICY_LEASE));
	if (SAYS(POLICY_WAIT))
		policy->wait = *DatumGetIntervalP(VALUE(POLICY_WAIT));
	if (SAYS(POLICY_REQUIRE_REQUEST))
		policy->require_request = DatumGetBool(VALUE(POLICY_REQUIRE_REQUEST));
	if (SAYS(POLICY_REQUIRE_ISSUED))
		policy->require_issued = DatumGetBool(VALUE(POLICY_REQUIRE_ISSUED));
	if (SAYS(POLICY_MIN_KEY_LENGTH))
		policy->min_key_length = DatumGetInt32(VALUE(POLICY_MIN_KEY_LENGTH));
	if (SAYS(POLICY_MAX_RESPONSE_BYTES))
		policy->max_response_bytes = DatumGetInt32(VALUE(POLICY_MAX_RESPONSE_BYTES));
	if (SAYS(POLICY_CACHE_ERRORS))
		policy->cache_errors = DatumGetArrayTypeP(VALUE(POLICY_CACHE_ERRORS));
#undef SAYS
#undef VALUE
}

/* The counters of a stored policy, or of none. */
static StatsEntry *
stats_of_policy(StoredPolicy *stored)
{
	if (stored == NULL)
	{
		if (stats_without_policy == NULL)
			stats_without_policy = stats_entry("", 0);
		return stats_without_policy;
	}
	if (stored->stats == NULL)
		stored->stats = stats_entry(VARDATA_ANY(stored->scope),
									VARSIZE_ANY_EXHDR(stored->scope));
	return stored->stats;
}

void
policy_of_scope(Policy *policy, const text *scope)
{
	const char *bytes = VARDATA_ANY(scope);
	int			length = VARSIZE_ANY_EXHDR(scope);
	uint64		hash = 0;
	StoredPolicy *longest = NULL;

	policy->ttl = default_ttl;
	policy->lease = default_lease;
	policy->wait = default_wait;
	policy->require_request = false;
	policy->require_issued = false;
	policy->min_key_length = min_key_length;
	policy->max_response_bytes = (Size) max_response_size * 1024;
	policy->cache_errors = NULL;

	AcceptInvalidationMessages();
	if (known_generation != objects_generation())
	{
		/* A message that arrives meanwhile makes the next call read again. */
		uint64		seen = objects_generation();

		read_policies();
		known_generation = seen;
	}

	/* From the shortest prefix to the scope itself: a longer one overrides. */
	for (int prefix = 0; known != NULL; prefix = next_prefix(bytes, length, prefix, &hash))
	{
		StoredPolicy *stored = find_policy(bytes, prefix, hash);

		if (stored != NULL)
		{
			apply_policy(policy, stored);
			longest = stored;
		}
		if (prefix == length)
			break;
	}
	policy->stats = stats_of_policy(longest);
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
