/*-------------------------------------------------------------------------
 *
 * distributed_run.c
 *	  Statements on the table of the distributed store: as whom they run, and
 *	  for how long they wait.
 *
 * They go through SPI, with plans that are kept, so that Citus can send them
 * where the row is.  Nothing in them depends on a search path: where they run
 * with more privileges than their caller has, no operator of his may be called.
 *
 * Waits.  A statement that meets a row on which another transaction is at work
 * waits for it inside the executor, on whatever server the row is.  So its
 * limit is lock_timeout, and the subtransaction that catches its expiry
 * (keylock.c) is made before it is known whether there is anything to wait for.
 * To look first was ruled out: on Citus nothing may be read before it was
 * written to.  Where no limit of ours is shorter than the session's own
 * lock_timeout, there is no subtransaction either.
 *
 * lock_timeout counts for the server that waits.  Citus passes on a SET LOCAL
 * if told so, to the connections that are open and those it opens later.  It is
 * set back right after the statement, so that no other inherits it.
 *
 * Privileges.  Who was granted SELECT, INSERT, UPDATE and DELETE on the table is
 * the one who reads and writes it; for all others it is the table's owner, as
 * applications have no right to the keys.  On Citus connections are those of a
 * role: an owner's cannot be the one that the caller's rows are written through,
 * and one transaction becomes two that commit together (doc/scaling.md).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "distributed_run.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"

/* $n of a parameter by its number, in the text of a statement. */
#define HASH_IS_GIVEN	"tenant OPERATOR(pg_catalog.=) $%d AND hash OPERATOR(pg_catalog.=) $%d", \
						DISTRIBUTED_TENANT + 1, KEYS_HASH + 1

static SPIPlanPtr plans[STATEMENTS];
static uint64 plans_made = 0;

static char *
statement_text(StatementKind kind)
{
	StringInfoData sql;

	initStringInfo(&sql);
	switch (kind)
	{
		case STATEMENT_INSERT:
			appendStringInfoString(&sql, "INSERT INTO " DISTRIBUTED_TABLE " (");
			append_column_names(&sql);
			appendStringInfoString(&sql, ") VALUES (");
			append_parameters(&sql);
			appendStringInfoString(&sql, ") ON CONFLICT (tenant, hash) DO NOTHING");
			break;
		case STATEMENT_UPDATE:
			appendStringInfoString(&sql, "UPDATE " DISTRIBUTED_TABLE " SET ");
			append_assignments(&sql);
			appendStringInfoString(&sql, " WHERE ");
			appendStringInfo(&sql, HASH_IS_GIVEN);
			appendStringInfo(&sql, " AND row_version OPERATOR(pg_catalog.=) $%d",
							 DISTRIBUTED_OLD_VERSION + 1);
			break;
		case STATEMENT_SEIZE:
			appendStringInfo(&sql, "UPDATE " DISTRIBUTED_TABLE " SET row_version = $%d WHERE ",
							 DISTRIBUTED_VERSION + 1);
			appendStringInfo(&sql, HASH_IS_GIVEN);
			appendStringInfoString(&sql, " RETURNING ");
			append_results(&sql);
			break;
		case STATEMENT_PROBE:
			appendStringInfoString(&sql, "SELECT ");
			append_results(&sql);
			appendStringInfoString(&sql, " FROM " DISTRIBUTED_TABLE " WHERE ");
			appendStringInfo(&sql, HASH_IS_GIVEN);
			break;
		case STATEMENT_DELETE:
			appendStringInfoString(&sql, "DELETE FROM " DISTRIBUTED_TABLE " WHERE ");
			appendStringInfo(&sql, HASH_IS_GIVEN);
			break;
		case STATEMENTS:
			break;
	}
	return sql.data;
}

/* The plan of a statement; SPI is connected. */
static SPIPlanPtr
plan_of(const Statement *statement)
{
	const DistributedTable *table = statement->table;
	SPIPlanPtr	plan;

	if (plans_made != table->made)
	{
		for (int kind = 0; kind < STATEMENTS; kind++)
		{
			if (plans[kind] != NULL)
				SPI_freeplan(plans[kind]);
			plans[kind] = NULL;
		}
		plans_made = table->made;
	}
	plan = plans[statement->kind];
	if (plan == NULL)
	{
		Oid			types[DISTRIBUTED_PARAMETERS];

		parameter_types(table, types);
		plan = SPI_prepare(statement_text(statement->kind), DISTRIBUTED_PARAMETERS, types);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare a statement on \"%s\"", DISTRIBUTED_TABLE);
		plans[statement->kind] = plan;
	}
	return plan;
}

void
become_user_of_table(const DistributedTable *table, Oid *role, int *context)
{
	AclMode		needed = ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE;

	GetUserIdAndSecContext(role, context);
	if (pg_class_aclmask(table->relid, *role, needed, ACLMASK_ALL) != needed)
		SetUserIdAndSecContext(table->owner, *context | SECURITY_LOCAL_USERID_CHANGE);
}

static void
set_local(const char *name, const char *value)
{
	char	   *command = psprintf("SET LOCAL %s = %s", name, quote_literal_cstr(value));

	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not set %s", name);
}

/*
 * The timeout was put into its variable behind the settings' back, so it is put
 * back before they remember it as the value to return to.
 */
void
pass_on_lock_timeout(const DistributedTable *table, int before)
{
	int			now = LockTimeout;

	if (!table->on_citus || now == before)
		return;
	LockTimeout = before;
	set_local("citus.propagate_set_commands", "local");
	set_local("lock_timeout", psprintf("%d", now));
}

void
take_back_lock_timeout(const DistributedTable *table, int before)
{
	if (table->on_citus && LockTimeout != before)
		set_local("lock_timeout", psprintf("%d", before));
}

/* What run_within() runs. */
typedef struct Work
{
	Statement  *statement;
	int			lock_timeout;	/* the session's */
} Work;

static void
work_on_statement(void *argument)
{
	Work	   *work = argument;
	Statement  *statement = work->statement;
	SPIPlanPtr	plan;
	char		nulls[DISTRIBUTED_PARAMETERS];
	Oid			role;
	int			context;
	int			result;

	for (int number = 0; number < DISTRIBUTED_PARAMETERS; number++)
		nulls[number] = statement->isnull[number] ? 'n' : ' ';
	SPI_connect();
	pass_on_lock_timeout(statement->table, work->lock_timeout);
	become_user_of_table(statement->table, &role, &context);
	plan = plan_of(statement);
	result = SPI_execute_plan(plan, statement->values, nulls, false, 0);
	SetUserIdAndSecContext(role, context);
	if (result < 0)
		elog(ERROR, "could not run a statement on \"%s\": %s", DISTRIBUTED_TABLE,
			 SPI_result_code_string(result));
	statement->rows = SPI_processed;
	if (SPI_tuptable != NULL && statement->rows > 0)
	{
		HeapTuple	tuple = SPI_copytuple(SPI_tuptable->vals[0]);

		heap_deform_tuple(tuple, SPI_tuptable->tupdesc, statement->results,
						  statement->result_isnull);
	}
	take_back_lock_timeout(statement->table, work->lock_timeout);
	SPI_finish();
}

void
begin_statement(Statement *statement, StatementKind kind, const IdempotencyKey *key)
{
	statement->table = distributed_table();
	statement->kind = kind;
	memset(statement->isnull, true, sizeof(statement->isnull));
	set_parameter(statement, KEYS_HASH, UUIDPGetDatum(&key->hash));
	set_parameter(statement, DISTRIBUTED_TENANT, tenant_of_scope(statement->table, key->scope));
}

void
set_parameter(Statement *statement, int number, Datum value)
{
	statement->values[number] = value;
	statement->isnull[number] = false;
}

/*
 * Only waits that ran out are counted: how long others were is known to the
 * server that waited.
 */
bool
run_statement(Statement *statement, const WaitLimit *limit, StatsEntry *stats)
{
	Work		work = {.statement = statement,.lock_timeout = LockTimeout};
	instr_time	begun;
	instr_time	waited;

	INSTR_TIME_SET_CURRENT(begun);
	if (run_within(limit, 1, work_on_statement, &work))
		return true;
	INSTR_TIME_SET_CURRENT(waited);
	INSTR_TIME_SUBTRACT(waited, begun);
	stats_count(stats, STATS_WAITS);
	stats_add(stats, STATS_TIME_WAITED, INSTR_TIME_GET_MICROSEC(waited));
	return false;
}
