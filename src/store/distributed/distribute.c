/*-------------------------------------------------------------------------
 *
 * distribute.c
 *	  Creating, dropping and altering the table of the distributed store.
 *
 * These run as the extension's owner, who then owns the table.
 *
 * From the commit of distribute() on, keys are stored in the new table, which
 * then has those of the local store (carry.c).  No transaction that began
 * before may store one in the local store.  Each claim locks the leaf that it
 * writes to, so a lock on all leaves waits for transactions that have written
 * and blocks those that have not; these notice the change by the message about
 * the new table (choice.c).  In the same way, undistribute() locks the table
 * that it drops.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "citus.h"
#include "key/policy_table.h"
#include "store/distributed/carry.h"
#include "error.h"
#include "executor/spi.h"
#include "members.h"
#include "miscadmin.h"
#include "objects.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(idempotency_distribute);
PG_FUNCTION_INFO_V1(idempotency_undistribute);
PG_FUNCTION_INFO_V1(idempotency_upgrade_store);

static void
run_command(const char *command)
{
	int			result = SPI_execute(command, false, 0);

	if (result != SPI_OK_UTILITY && result != SPI_OK_SELECT)
		elog(ERROR, "could not run: %s", command);
}

/* Locks the tables by OID, not by name. */
static void
lock_local_store(void)
{
	LockRelationOid(objects()->keys, ExclusiveLock);
	for (int leaf = 0; leaf < LEAVES; leaf++)
		LockRelationOid(objects()->leaf[leaf], ExclusiveLock);
	check_triggers();
}

static void
check_table_exists(void)
{
	if (!OidIsValid(objects()->distributed_keys))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("there is no distributed store of idempotency keys"),
				 errdetail("The table \"%s\" does not exist.", DISTRIBUTED_KEYS),
				 errhint("Call idempotency.distribute() to create it.")));
}

/* ----------------------------------------------------------------
 *		distribute()
 * ----------------------------------------------------------------
 */

/* Whether there are no tenants; raises IK400 for any other value. */
static bool
one_tenant_from_arg(FunctionCallInfo fcinfo, int arg)
{
	char	   *tenant_from = PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));

	if (tenant_from != NULL && strcmp(tenant_from, "last") == 0)
		return false;
	if (tenant_from != NULL && strcmp(tenant_from, "none") == 0)
		return true;
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
			 tenant_from == NULL ?
			 errmsg("tenant_from must not be null") :
			 errmsg("tenant_from must be \"last\" or \"none\", not \"%s\"", tenant_from),
			 errhint("\"last\" takes what follows the last \"/\" of a scope as its tenant; \"none\" is for tables that Citus does not distribute.")));
}

/* The type of the column by which the business table is distributed. */
static char *
type_of_distribution_column(Oid business, const char *name)
{
	HeapTuple	tuple = SearchSysCacheAttName(business, name);
	Form_pg_attribute column;
	StringInfoData type;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for column \"%s\" of relation %u", name, business);
	column = (Form_pg_attribute) GETSTRUCT(tuple);
	if (!is_tenant_type(column->atttypid))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("table \"%s\" is distributed by a column that can't name a tenant",
						get_rel_name(business)),
				 errdetail("Column \"%s\" is of type %s; text, bigint, integer and uuid can be read from a scope.",
						   name, format_type_be(column->atttypid)),
				 errhint("Name a table that is distributed by a column of one of these types.")));
	initStringInfo(&type);
	appendStringInfoString(&type, format_type_be_qualified(column->atttypid));

	/* Rows are colocated only if their columns compare alike. */
	if (OidIsValid(column->attcollation) && column->attcollation != DEFAULT_COLLATION_OID)
		appendStringInfo(&type, " COLLATE %s", generate_collation_name(column->attcollation));
	ReleaseSysCache(tuple);
	return type.data;
}

/*
 * Check that keys of rows that Citus does not distribute can be stored here.
 */
static void
check_business_is_here(Oid business, const CitusTable *citus)
{
	if (citus->known)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("rows of table \"%s\" are not distributed by a column", get_rel_name(business)),
				 errdetail("Keys are stored with the rows that they protect, by the same column."),
				 errhint("Name a table made with create_distributed_table(), or one that Citus does not know.")));
	if (citus_has_other_nodes())
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("table \"%s\" is not distributed", get_rel_name(business)),
				 errdetail("This Citus cluster has several nodes, and keys are stored with the rows that they protect."),
				 errhint("Distribute it with create_distributed_table(), or name a table that is.")));
}

/* Run the commands that a query returns. */
static void
run_commands_of(const char *query)
{
	if (SPI_execute(query, false, 0) == SPI_OK_SELECT)
	{
		SPITupleTable *commands = SPI_tuptable;
		uint64		count = SPI_processed;

		for (uint64 i = 0; i < count; i++)
			run_command(SPI_getvalue(commands->vals[i], commands->tupdesc, 1));
	}
}

/*
 * Grant privileges on the table to the roles that may claim keys, and to no
 * others but its owner, whatever the default privileges are.
 */
static void
set_privileges(const char *name, Oid relid)
{
	run_command(psprintf("REVOKE ALL ON TABLE %s FROM PUBLIC", name));
	run_commands_of(psprintf("SELECT pg_catalog.format('REVOKE ALL ON TABLE %%s FROM %%s', %s, grantee::pg_catalog.regrole) "
							 "FROM pg_catalog.pg_class AS c, pg_catalog.aclexplode(c.relacl) AS a "
							 "WHERE c.oid OPERATOR(pg_catalog.=) %u "
							 "AND a.grantee OPERATOR(pg_catalog.<>) c.relowner GROUP BY grantee",
							 quote_literal_cstr(name), relid));
	run_commands_of(psprintf("SELECT pg_catalog.format('GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %%s TO %%s', %s, grantee::pg_catalog.regrole) "
							 "FROM pg_catalog.pg_proc AS p, pg_catalog.aclexplode(p.proacl) AS a "
							 "WHERE p.oid OPERATOR(pg_catalog.=) %u AND a.grantee OPERATOR(pg_catalog.<>) 0::pg_catalog.oid "
							 "AND a.grantee OPERATOR(pg_catalog.<>) p.proowner GROUP BY grantee",
							 quote_literal_cstr(name), extension_function("claim")));
}

static void
make_table(const char *name, const char *tenant_type, bool one_tenant)
{
	run_command(create_table_command(name, tenant_type, one_tenant));
	run_command(psprintf("CREATE INDEX " DISTRIBUTED_KEYS "_expires_at ON %s (expires_at)", name));
	run_command(psprintf("COMMENT ON TABLE %s IS "
						 "'every stored idempotency key; created by idempotency.distribute(), and not a member of the extension'", name));
}

/*
 * Make Citus distribute the table and the policies.  The function of the
 * policies needs the extension, which Citus then creates on every node.
 */
static void
distribute_table(const char *name, Oid business)
{
	publish_policies();
	run_command(psprintf("SELECT pg_catalog.create_distributed_table(%s, 'tenant', colocate_with := %s)",
						 quote_literal_cstr(name), quote_literal_cstr(object_name(business))));
	run_command(psprintf("SELECT pg_catalog.truncate_local_data_after_distributing_table(%s)",
						 quote_literal_cstr(name)));
}

/*
 * Check that the new table is recognized, by the lookup that the next claim
 * makes.
 */
static Oid
made_table(const char *name)
{
	Oid			relid = objects()->distributed_keys;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s would not be used as the store of idempotency keys", name),
				 errdetail("Its owner does not own the tables of the extension."),
				 errhint("Give the tables back to the role that installed the extension, by ALTER TABLE .. OWNER TO.")));
	return relid;
}

/*
 * A table that exists already can only be distributed by Citus, if it came
 * from a dump or is older than the cluster.
 */
static void
check_table_can_be_distributed(const CitusTable *business)
{
	CitusTable	citus;

	if (!OidIsValid(objects()->distributed_keys))
		return;
	describe_citus_table(&citus, objects()->distributed_keys);
	if (business->distribution_column == NULL || citus.known ||
		distributed_table(AccessShareLock)->one_tenant)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("there is a distributed store of idempotency keys already"),
				 errdetail("The table \"%s\" exists.", DISTRIBUTED_KEYS),
				 errhint("Call idempotency.undistribute() first to create another one.")));
}

/*
 * distribute(business regclass, tenant_from text)
 *
 * Creates the table of the distributed store, on Citus colocated with the
 * business table, and carries all live keys over.  Raises IK400 for a table
 * with which it can't be colocated, and OBJECT_IN_USE for keys that can't be
 * carried.  Waits for all transactions that have claimed a key.
 */
Datum
idempotency_distribute(PG_FUNCTION_ARGS)
{
	Oid			business = PG_GETARG_OID(0);
	CitusTable	citus;
	bool		one_tenant;
	char	   *tenant_type = "pg_catalog.text";
	char	   *name;

	PreventCommandIfReadOnly("idempotency.distribute()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("business must not be null"),
				 errhint("Name the table whose rows the keys protect.")));
	one_tenant = one_tenant_from_arg(fcinfo, 1);
	describe_citus_table(&citus, business);
	check_table_can_be_distributed(&citus);
	if (citus.distribution_column == NULL)
		check_business_is_here(business, &citus);
	else if (one_tenant)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("table \"%s\" is distributed, so keys need a tenant", get_rel_name(business)),
				 errhint("Leave tenant_from out, and end scopes with the tenant.")));
	else
		tenant_type = type_of_distribution_column(business, citus.distribution_column);
	check_carrying_is_possible();

	SPI_connect();
	name = quote_qualified_identifier(get_namespace_name(objects()->schema), DISTRIBUTED_KEYS);
	lock_local_store();
	if (!OidIsValid(objects()->distributed_keys))
		make_table(name, tenant_type, one_tenant);
	run_command(psprintf("LOCK TABLE %s IN ACCESS EXCLUSIVE MODE", name));
	set_privileges(name, made_table(name));
	carry_to_distributed(distributed_table(RowExclusiveLock), citus.distribution_column != NULL);
	if (citus.distribution_column != NULL)
		distribute_table(name, business);
	SPI_finish();
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------
 *		undistribute() and upgrade_store()
 * ----------------------------------------------------------------
 */

/*
 * undistribute()
 *
 * Carries all live keys back to the local store, and drops the table of the
 * distributed one.  Raises OBJECT_IN_USE for keys that can't be carried.
 * Waits for all transactions that have used the table.
 */
Datum
idempotency_undistribute(PG_FUNCTION_ARGS)
{
	char	   *name;

	PreventCommandIfReadOnly("idempotency.undistribute()");
	check_table_exists();
	check_carrying_is_possible();
	name = object_name(objects()->distributed_keys);
	SPI_connect();
	run_command(psprintf("LOCK TABLE %s IN ACCESS EXCLUSIVE MODE", name));
	lock_local_store();
	/* Citus refuses this after a statement that has used several connections. */
	unpublish_policies();
	carry_to_local(distributed_table(RowExclusiveLock));
	run_command(psprintf("DROP TABLE %s", name));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * upgrade_store() returns text[]
 *
 * Adds the columns that this version of the library knows and the table of the
 * distributed store lacks, and returns their names.
 */
Datum
idempotency_upgrade_store(PG_FUNCTION_ARGS)
{
	Datum		names[DISTRIBUTED_COLUMNS];
	int			added;

	PreventCommandIfReadOnly("idempotency.upgrade_store()");
	check_table_exists();
	added = add_missing_columns(objects()->distributed_keys, names);
	PG_RETURN_ARRAYTYPE_P(construct_array(names, added, TEXTOID, -1, false, TYPALIGN_INT));
}
