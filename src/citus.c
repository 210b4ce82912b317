/*-------------------------------------------------------------------------
 *
 * citus.c
 *	  What Citus knows of its nodes and tables.
 *
 * Citus's own tables are queried by SQL, since the library can't be linked
 * against Citus.  They are local tables, which are read with a new snapshot,
 * so that a transaction with an old snapshot sees a node that has joined
 * since.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "citus.h"
#include "executor/spi.h"
#include "objects.h"
#include "utils/snapmgr.h"

/* Whether the extension citus is installed in this database. */
static bool
citus_is_here(void)
{
	return OidIsValid(objects()->citus_nodes);
}

/*
 * Begin a query with one parameter; its result is read between this call and
 * end_query().
 */
static void
begin_query(const char *query, Oid parameter)
{
	Oid			type = OIDOID;
	Datum		value = ObjectIdGetDatum(parameter);

	SPI_connect();
	/* A new snapshot, also in the leader of a parallel plan. */
	PushActiveSnapshot(GetCatalogSnapshot(objects()->citus_nodes));
	if (SPI_execute_with_args(query, 1, &type, &value, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the tables of Citus");
}

static void
end_query(void)
{
	PopActiveSnapshot();
	SPI_finish();
}

static Datum
first_value(int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, isnull);
}

/* A standby is in the group of its primary. */
bool
citus_has_other_nodes(void)
{
	bool		others;
	bool		isnull;

	if (!citus_is_here())
		return false;
	begin_query("WITH local AS MATERIALIZED (SELECT groupid FROM pg_catalog.pg_dist_local_group) "
				"SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_node AS n, local WHERE n.isactive"
				" AND n.groupid OPERATOR(pg_catalog.<>) local.groupid)"
				" OR EXISTS (SELECT FROM pg_catalog.pg_dist_placement AS p, local"
				" WHERE p.groupid OPERATOR(pg_catalog.<>) local.groupid)",
				InvalidOid);
	others = DatumGetBool(first_value(1, &isnull));
	end_query();
	return others;
}

bool
citus_is_coordinator(void)
{
	bool		coordinator;
	bool		isnull;

	if (!citus_is_here())
		return true;
	begin_query("SELECT groupid OPERATOR(pg_catalog.=) 0 FROM pg_catalog.pg_dist_local_group",
				InvalidOid);
	coordinator = SPI_processed == 0 || DatumGetBool(first_value(1, &isnull));
	end_query();
	return coordinator;
}

void
describe_citus_table(CitusTable *table, Oid relid)
{
	MemoryContext caller = CurrentMemoryContext;

	table->known = false;
	table->distribution_column = NULL;
	if (!citus_is_here())
		return;
	begin_query("SELECT CASE WHEN partmethod OPERATOR(pg_catalog.=) 'h' "
				"THEN pg_catalog.column_to_column_name(logicalrelid, partkey) END "
				"FROM pg_catalog.pg_dist_partition WHERE logicalrelid::pg_catalog.oid OPERATOR(pg_catalog.=) $1",
				relid);
	if (SPI_processed > 0)
	{
		char	   *column = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		table->known = true;
		if (column != NULL)
			table->distribution_column = MemoryContextStrdup(caller, column);
	}
	end_query();
}
