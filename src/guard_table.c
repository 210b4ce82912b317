/*-------------------------------------------------------------------------
 *
 * guard_table.c
 *	  Making the triggers that guard a table.
 *
 * Triggers fire in the order of their names.  The one that claims is named to
 * be the last of the BEFORE triggers, so that it sees the row as it goes in.
 *
 * The scope is written down in the triggers, the default too: a table that is
 * renamed later keeps its keys.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "error.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "guarded.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(idempotency_guard_table);

static void
missing_argument(const char *name)
{
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
			 errmsg("%s must not be null", name),
			 errhint("Name the table, the column that holds the key, and \"skip\" or \"raise\".")));
}

static void
make_trigger(const char *name, const char *event, const char *table,
			 const char *arguments)
{
	char	   *command = psprintf("CREATE OR REPLACE TRIGGER %s %s ON %s FOR EACH ROW EXECUTE FUNCTION idempotency.guard(%s)",
								   name, event, table, arguments);

	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not make trigger \"%s\"", name);
}

/*
 * guard_table(table regclass, key_column name, scope text, mode text)
 *
 * Makes the triggers that guard a table, or makes them anew with other
 * arguments.  Raises IK400 for a table that can't be guarded, and what CREATE
 * TRIGGER raises for one that is not the caller's.
 */
Datum
idempotency_guard_table(PG_FUNCTION_ARGS)
{
	Relation	relation;
	GuardedTable guarded;
	const char *key_column;
	const char *mode;
	char	   *table;
	char	   *arguments;
	bool		partitioned;

	if (PG_ARGISNULL(0))
		missing_argument("table");
	if (PG_ARGISNULL(1))
		missing_argument("key_column");
	if (PG_ARGISNULL(3))
		missing_argument("mode");
	key_column = NameStr(*PG_GETARG_NAME(1));
	mode = text_to_cstring(PG_GETARG_TEXT_PP(3));
	(void) mode_raises(mode);

	relation = table_open(PG_GETARG_OID(0), AccessShareLock);
	partitioned = relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	if (!partitioned && relation->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("\"%s\" is not a table", RelationGetRelationName(relation)),
				 errdetail("Only tables and partitioned tables can be guarded."),
				 errhint("Guard the table that the rows end up in.")));
	describe_guarded(&guarded, relation, key_column,
					 PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)));
	table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
									   RelationGetRelationName(relation));
	table_close(relation, NoLock);

	arguments = psprintf("%s, %s, %s", quote_literal_cstr(key_column),
						 quote_literal_cstr(text_to_cstring(guarded.scope)),
						 quote_literal_cstr(mode));
	SPI_connect();
	make_trigger("zzz_idempotency_claim", "BEFORE INSERT", table, arguments);
	make_trigger("zzz_idempotency_complete", "AFTER INSERT", table, arguments);
	if (partitioned)
		make_trigger("zzz_idempotency_move", "BEFORE DELETE", table, arguments);
	SPI_finish();
	PG_RETURN_VOID();
}
