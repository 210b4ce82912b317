/*-------------------------------------------------------------------------
 *
 * distributed_table.c
 *	  The table of the distributed store.
 *
 * An ordinary table that distribute() makes, and that does not belong to the
 * extension: Citus would not let an update script alter a member of the
 * extension, nor would pg_dump dump its rows from the shards.  So it does not
 * change with the extension: it has the columns of the version of the library
 * that made it, until upgrade_store() adds those that a later one knows.  A
 * library reads and writes its columns by name, and refuses a table that lacks
 * one.
 *
 * The first column is the tenant, by which Citus places the row.  If there are
 * no tenants it is always empty, which a constraint of the table tells.
 *
 * A version names what a transaction has written: twelve bytes are the
 * transaction's own, the last four count its writes (row_version.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "citus.h"
#include "compat.h"
#include "store/distributed/distributed_table.h"
#include "error.h"
#include "executor/spi.h"
#include "objects.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define ONE_TENANT		DISTRIBUTED_KEYS "_one_tenant"

typedef struct Column
{
	const char *name;			/* NULL: only keys has it */
	Oid			type;
	bool		required;
	bool		claimed;		/* it is in COLUMNS_CLAIM */
	bool		ended;			/* it is in COLUMNS_END */
} Column;

/* The tenant's type is the table's own.  One that is added later may be null. */
static const Column columns[DISTRIBUTED_COLUMNS] = {
	[KEYS_SCOPE] = {"scope", TEXTOID, true,.claimed = true},
	[KEYS_KEY] = {"key", TEXTOID, true,.claimed = true},
	[KEYS_FINGERPRINT] = {"fingerprint", BYTEAOID, false,.claimed = true},
	[KEYS_STATUS] = {"status", TEXTOID, true,.claimed = true,.ended = true},
	[KEYS_STATUS_CODE] = {"status_code", INT4OID, false,.ended = true},
	[KEYS_RESOURCE_ID] = {"resource_id", TEXTOID, false,.ended = true},
	[KEYS_RESPONSE] = {"response", JSONBOID, false,.ended = true},
	[KEYS_ATTEMPT] = {"attempt", INT4OID, true,.claimed = true},
	[KEYS_RECOVERY_POINT] = {"recovery_point", TEXTOID, false},
	[KEYS_STATE] = {"state", JSONBOID, false},
	[KEYS_LEASE_UNTIL] = {"lease_until", TIMESTAMPTZOID, false,.claimed = true,.ended = true},
	[KEYS_CLAIMED_AT] = {"claimed_at", TIMESTAMPTZOID, false,.claimed = true},
	[KEYS_COMPLETED_AT] = {"completed_at", TIMESTAMPTZOID, false,.ended = true},
	[KEYS_EXPIRES_AT] = {"expires_at", TIMESTAMPTZOID, true,.claimed = true,.ended = true},
	[KEYS_TTL] = {"ttl", INTERVALOID, false,.claimed = true},
	[KEYS_LEASE] = {"lease", INTERVALOID, false,.claimed = true},
	[KEYS_CLAIM_XID] = {NULL, XIDOID, false},
	[KEYS_SLOT] = {NULL, INT2OID, false},
	[KEYS_HASH] = {"hash", UUIDOID, true,.claimed = true},
	[DISTRIBUTED_VERSION] = {"row_version", UUIDOID, true,.claimed = true,.ended = true},
	[DISTRIBUTED_CLAIM_VERSION] = {"claim_version", UUIDOID, false,.claimed = true},
	[DISTRIBUTED_TENANT] = {"tenant", InvalidOid, true,.claimed = true},
};

/* ----------------------------------------------------------------
 *		The existing table
 * ----------------------------------------------------------------
 */

bool
is_tenant_type(Oid type)
{
	return type == TEXTOID || type == INT8OID || type == INT4OID || type == UUIDOID;
}

/* The type of a column of the table, InvalidOid if there is no such column. */
static Oid
type_of_column(Oid relid, const char *name)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, name);
	Oid			type;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	type = ((Form_pg_attribute) GETSTRUCT(tuple))->atttypid;
	ReleaseSysCache(tuple);
	return type;
}

/* Whether the table has the column as this version of the library knows it. */
static bool
has_column(Oid relid, const Column *column)
{
	Oid			type = type_of_column(relid, column->name);

	return OidIsValid(column->type) ? type == column->type : is_tenant_type(type);
}

static void
check_table(Oid relid)
{
	for (int number = 0; number < DISTRIBUTED_COLUMNS; number++)
	{
		const Column *column = &columns[number];

		if (column->name != NULL && !has_column(relid, column))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" is not as this version of the extension creates it", DISTRIBUTED_KEYS),
					 errdetail("It has no column \"%s\" of the type that is expected.", column->name),
					 errhint("Call idempotency.upgrade_store() if a new version was installed.")));
	}
}

/*
 * Lock the table, so that undistribute() waits for its users.  A transaction
 * that has waited for undistribute() finds the table dropped, or another one
 * in its place.
 */
static Oid
lock_table(LOCKMODE mode)
{
	for (;;)
	{
		Oid			relid = objects()->distributed_keys;

		if (!OidIsValid(relid))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("the store of idempotency keys was changed concurrently"),
					 errdetail("A concurrent call of idempotency.undistribute() has committed."),
					 errhint("Retry the transaction.")));
		LockRelationOid(relid, mode);
		if (objects()->distributed_keys == relid)
			return relid;
		UnlockRelationOid(relid, mode);
	}
}

const DistributedTable *
distributed_table(LOCKMODE mode)
{
	static DistributedTable known;
	static uint64 known_generation = 0;
	Oid			relid = lock_table(mode);

	if (mode > AccessShareLock)
		check_triggers();
	if (known_generation != objects_generation())
	{
		/* If a message arrives meanwhile, the next call looks again. */
		uint64		seen = objects_generation();
		DistributedTable found;
		CitusTable	citus;

		check_table(relid);
		describe_citus_table(&citus, relid);
		found.relid = relid;
		strlcpy(found.name, object_name(relid), sizeof(found.name));
		found.tenant_type = type_of_column(relid, columns[DISTRIBUTED_TENANT].name);
		found.one_tenant = OidIsValid(get_relation_constraint_oid(relid, ONE_TENANT, true));
		found.on_citus = citus.distribution_column != NULL;
		found.made = known.made;
		if (found.relid != known.relid || found.tenant_type != known.tenant_type ||
			strcmp(found.name, known.name) != 0)
			found.made++;
		known = found;
		known_generation = seen;
	}
	return &known;
}

/* What follows the last slash of the scope; NULL if nothing does. */
static char *
name_of_tenant(const text *scope)
{
	const char *bytes = VARDATA_ANY(scope);
	int			end = VARSIZE_ANY_EXHDR(scope);
	int			begin = end;

	while (begin > 0 && bytes[begin - 1] != '/')
		begin--;
	return begin == 0 || begin == end ? NULL : pnstrdup(bytes + begin, end - begin);
}

bool
find_tenant(const DistributedTable *table, const text *scope, Datum *tenant)
{
	char	   *name = table->one_tenant ? "" : name_of_tenant(scope);

	return name != NULL && read_value(table->tenant_type, name, tenant);
}

const char *
tenant_expression(const DistributedTable *table)
{
	return table->one_tenant ? "''" : psprintf("pg_catalog.substring(scope, '[^/]*$')::%s",
											   format_type_be_qualified(table->tenant_type));
}

Datum
tenant_of_scope(const DistributedTable *table, const text *scope)
{
	Datum		tenant;
	char	   *name;

	if (find_tenant(table, scope, &tenant))
		return tenant;
	name = name_of_tenant(scope);
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
			 name == NULL ?
			 errmsg("scope \"%s\" names no tenant", scope_in_message(scope)) :
			 errmsg("tenant \"%s\" of the scope is not of type %s", name, format_type_be(table->tenant_type)),
			 errdetail("Keys are stored with their tenant, which is the part of the scope after the last \"/\"."),
			 name == NULL ?
			 errhint("Use a scope such as \"payments/42\".") :
			 errhint("End the scope with the value that the rows of the tenant are distributed by.")));
}

/* ----------------------------------------------------------------
 *		Statements
 * ----------------------------------------------------------------
 */

void
parameter_types(const DistributedTable *table, Oid *types)
{
	for (int number = 0; number < DISTRIBUTED_COLUMNS; number++)
		types[number] = columns[number].type;
	types[DISTRIBUTED_TENANT] = table->tenant_type;
	types[DISTRIBUTED_OLD_VERSION] = UUIDOID;
}

static bool
in_set(int number, ColumnSet set)
{
	const Column *column = &columns[number];

	if (column->name == NULL)
		return false;
	switch (set)
	{
		case COLUMNS_ALL:
			return true;
		case COLUMNS_KEYS:
			return number < KEYS_COLUMNS;
		case COLUMNS_CHANGING:
			return number != KEYS_SCOPE && number != KEYS_KEY &&
				number != KEYS_HASH && number != DISTRIBUTED_TENANT;
		case COLUMNS_CLAIM:
			return column->claimed;
		case COLUMNS_END:
			return column->ended;
	}
	return false;
}

bool
null_outside(ColumnSet set, const bool *isnull)
{
	for (int number = 0; number < KEYS_COLUMNS; number++)
	{
		if (columns[number].name != NULL && !in_set(number, set) && !isnull[number])
			return false;
	}
	return true;
}

char *
column_list(ColumnSet set, ColumnForm form)
{
	const char *separator = "";
	StringInfoData list;

	initStringInfo(&list);
	for (int number = 0; number < DISTRIBUTED_COLUMNS; number++)
	{
		if (!in_set(number, set))
			continue;
		appendStringInfoString(&list, separator);
		if (form != PARAMETERS)
			appendStringInfoString(&list, columns[number].name);
		if (form == ASSIGNMENTS)
			appendStringInfoString(&list, " = ");
		if (form != NAMES)
			appendStringInfo(&list, "$%d", number + 1);
		separator = ", ";
	}
	return list.data;
}

/* Columns that do not exist here are null. */
char *
result_list(void)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int number = 0; number < DISTRIBUTED_RESULTS; number++)
		appendStringInfo(&list, "%s%s", number == 0 ? "" : ", ",
						 columns[number].name != NULL ? columns[number].name : "NULL");
	return list.data;
}

/* ----------------------------------------------------------------
 *		Creating it
 * ----------------------------------------------------------------
 */

static char *
definition(const Column *column)
{
	return psprintf("%s %s%s", column->name, format_type_be_qualified(column->type),
					column->required ? " NOT NULL" : "");
}

/* The fillfactor leaves room on each page, so that completing a key is a heap-only update. */
char *
create_table_command(const char *name, const char *tenant_type, bool one_tenant)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (tenant %s NOT NULL", name, tenant_type);
	for (int number = 0; number < DISTRIBUTED_TENANT; number++)
	{
		if (columns[number].name != NULL)
			appendStringInfo(&sql, ", %s", definition(&columns[number]));
	}
	appendStringInfo(&sql, ", CONSTRAINT %s_key PRIMARY KEY (tenant, hash)", DISTRIBUTED_KEYS);
	if (one_tenant)
		appendStringInfo(&sql, ", CONSTRAINT %s CHECK (tenant OPERATOR(pg_catalog.=) '')", ONE_TENANT);
	appendStringInfoString(&sql, ") WITH (fillfactor = 75)");
	return sql.data;
}

int
add_missing_columns(Oid relid, Datum *names)
{
	int			added = 0;

	for (int number = 0; number < DISTRIBUTED_TENANT; number++)
	{
		const Column *column = &columns[number];
		char	   *command;

		if (column->name == NULL || OidIsValid(type_of_column(relid, column->name)))
			continue;
		command = psprintf("ALTER TABLE %s ADD COLUMN %s", object_name(relid), definition(column));
		SPI_connect();
		if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "could not run: %s", command);
		SPI_finish();
		names[added++] = CStringGetTextDatum(column->name);
	}
	return added;
}
