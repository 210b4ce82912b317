/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  Statements on the table of the distributed store: the role that they run
 *	  as, and how long they wait.
 *
 * They go through SPI, with saved plans, so that Citus can send them to the
 * server of the row.  They run with a fixed search path, under which all their
 * names are found in pg_catalog: Citus sends types and operators to other
 * servers by names that depend on the path.
 *
 * Waits.  A statement that meets a row on which another transaction is at work
 * waits for it inside the executor, on whatever server the row is.  So its
 * limit is lock_timeout, and the subtransaction that catches its expiry
 * (wait.c) is made before it is known whether there is anything to wait
 * for.  Looking first was ruled out: on Citus a row must be written before it
 * is read.  If the limit is not shorter than the session's own lock_timeout,
 * there is no subtransaction.
 *
 * On Citus another server may be the one that waits.  A timer of this server
 * ends the wait: Citus then cancels the statements that it has sent.  That
 * costs nothing if there is no wait, but the timer also measures connections
 * and the network.  So if the time is up, the statement is run once more, with
 * the lock_timeout of the server that may wait: a millisecond, which
 * distinguishes a wait from a slow answer.  Citus can pass on a SET LOCAL to
 * the connections that are open and those it opens later.  It is reset right
 * after the statement, so that no later statement inherits it; with this
 * alone, each claim that may not wait would take one more round trip.
 *
 * Shards.  A transaction reaches a shard over the connection on which it first
 * used the shard's placement.  On all nodes but the coordinator a placement
 * keeps its id when the shard moves.  Citus' own lock against moves, on the
 * shard's metadata, ends with the subtransaction that wrote to it:
 *
 *		- A claim's wait has run out, or an application's savepoint is rolled back.
 *		- The shard is moved.
 *		- The next claim of the transaction is written to the old placement, over
 *		  the old connection: it is acknowledged, and lost.
 *
 * So that lock is taken first, and kept to the end of the transaction.
 *
 * Privileges.  Statements run as their caller, who has been granted SELECT,
 * INSERT, UPDATE and DELETE on the table: grant_usage().  Running them as the
 * table's owner was ruled out on Citus: other servers would execute as that
 * role everything that this one sends; and Citus lets a transaction write to
 * colocated tables as one role only, which is the role that writes the rows
 * that the keys protect.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "objects.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "store/distributed/row_version.h"
#include "store/distributed/statement.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/resowner.h"
#include "utils/timeout.h"

/* A timer of this server allows that much time, or a longer wait (see above). */
#define PROMPT_MS		20

static SPIPlanPtr plans[STATEMENTS];
static uint64 plans_made = 0;

/* Whether the timer of a wait has ended it. */
static volatile sig_atomic_t time_is_up = false;

/* The scope whose shard's metadata was locked last, if the generations are the same. */
static struct
{
	uint64		memory;
	uint64		objects;
	int			length;
	char		scope[SCOPE_LENGTH_LIMIT];
}			locked;

static char *
insert_text(const char *table, ColumnSet set)
{
	return psprintf("INSERT INTO %s (%s) VALUES (%s) ON CONFLICT (tenant, hash) DO NOTHING",
					table, column_list(set, NAMES), column_list(set, PARAMETERS));
}

static char *
update_text(const char *table, ColumnSet set, const char *of_key)
{
	return psprintf("UPDATE %s SET %s WHERE %s AND row_version OPERATOR(pg_catalog.=) $%d",
					table, column_list(set, ASSIGNMENTS), of_key, DISTRIBUTED_OLD_VERSION + 1);
}

static char *
statement_text(const char *table, StatementKind kind)
{
	char	   *of_key = psprintf("tenant OPERATOR(pg_catalog.=) $%d AND hash OPERATOR(pg_catalog.=) $%d",
								  DISTRIBUTED_TENANT + 1, KEYS_HASH + 1);

	switch (kind)
	{
		case STATEMENT_CLAIM:
			return insert_text(table, COLUMNS_CLAIM);
		case STATEMENT_INSERT:
			return insert_text(table, COLUMNS_ALL);
		case STATEMENT_END:
			return update_text(table, COLUMNS_END, of_key);
		case STATEMENT_UPDATE:
			return update_text(table, COLUMNS_CHANGING, of_key);
		case STATEMENT_PROBE_FOR_UPDATE:
			return psprintf("UPDATE %s SET row_version = $%d WHERE %s RETURNING %s",
							table, DISTRIBUTED_VERSION + 1, of_key, result_list());
		case STATEMENT_PROBE:
			return psprintf("SELECT %s FROM %s WHERE %s", result_list(), table, of_key);
		case STATEMENT_DELETE:
			return psprintf("DELETE FROM %s WHERE %s", table, of_key);
		case STATEMENT_LOCK:
			return psprintf("SELECT pg_catalog.lock_shard_metadata(%d,"
							" ARRAY[pg_catalog.get_shard_id_for_distribution_column(%s, $%d)])",
							ShareLock, quote_literal_cstr(table), DISTRIBUTED_TENANT + 1);
		case STATEMENTS:
			break;
	}
	return NULL;
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
		plan = SPI_prepare(statement_text(table->name, statement->kind), DISTRIBUTED_PARAMETERS, types);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare a statement on %s", table->name);
		plans[statement->kind] = plan;
	}
	return plan;
}

/* Settings that affect the meaning of a statement, and of its text as Citus prints it. */
static const struct
{
	const char *name;
	const char *value;
}			pinned[] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"standard_conforming_strings", "on"},
};

int
begin_as_caller(const DistributedTable *table)
{
	AclMode		needed = ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE;
	int			nest_level;

	if (pg_class_aclmask(table->relid, GetUserId(), needed, ACLMASK_ALL) != needed)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", DISTRIBUTED_KEYS),
				 errdetail("Statements on the keys that idempotency.distribute() has moved run with their caller's own privileges."),
				 errhint("Call idempotency.grant_usage() for the role.")));
	nest_level = NewGUCNestLevel();
	for (int i = 0; i < (int) lengthof(pinned); i++)
	{
		if (strcmp(GetConfigOption(pinned[i].name, false, false), pinned[i].value) != 0)
			(void) set_config_option(pinned[i].name, pinned[i].value, PGC_USERSET,
									 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	return nest_level;
}

void
end_as_caller(int nest_level)
{
	AtEOXact_GUC(true, nest_level);
}

/* Set it on this server and on those that the transaction uses. */
static void
set_lock_timeout_everywhere(int ms)
{
	int			nest_level = NewGUCNestLevel();

	(void) set_config_option("citus.propagate_set_commands", "local", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_execute(psprintf("SET LOCAL lock_timeout = %d", ms), false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not set lock_timeout");
	AtEOXact_GUC(true, nest_level);
}

/* The time is up: cancel the statement, on whichever server it waits. */
static void
end_wait(void)
{
	time_is_up = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/*
 * Execute a plan within the given time, all of which may be a wait for a lock.
 * If the time is up just when the plan has been executed, it counts as up,
 * too.  The server's own timer for locks is not suitable: it ends with the
 * first wait for a lock on this server.
 */
static int
execute_with_timer(SPIPlanPtr plan, Statement *statement, const char *nulls, int ms)
{
	static TimeoutId timer = MAX_TIMEOUTS;
	MemoryContext context = CurrentMemoryContext;
	volatile int result = 0;

	if (timer == MAX_TIMEOUTS)
		timer = RegisterTimeout(USER_TIMEOUT, end_wait);
	time_is_up = false;
	enable_timeout_after(timer, ms);
	PG_TRY();
	{
		result = SPI_execute_plan(plan, statement->values, nulls, false, 0);
		disable_timeout(timer, false);
		CHECK_FOR_INTERRUPTS();
	}
	PG_CATCH();
	{
		disable_timeout(timer, false);
		if (!time_is_up || geterrcode() != ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("canceling statement due to lock timeout")));
	}
	PG_END_TRY();
	return result;
}

/* The argument of work_on_statement(). */
typedef struct Work
{
	Statement  *statement;
	int			lock_timeout;	/* the session's */
	bool		everywhere;		/* the lock_timeout is that of all servers */
} Work;

static void
work_on_statement(void *argument)
{
	Work	   *work = argument;
	Statement  *statement = work->statement;
	int			timeout = LockTimeout;
	SPIPlanPtr	plan;
	char		nulls[DISTRIBUTED_PARAMETERS];
	int			result;

	for (int number = 0; number < DISTRIBUTED_PARAMETERS; number++)
		nulls[number] = statement->isnull[number] ? 'n' : ' ';
	SPI_connect();
	if (work->everywhere)
	{
		/*
		 * It was assigned to its variable directly: restore the variable
		 * before SET LOCAL saves it as the value to return to.
		 */
		LockTimeout = work->lock_timeout;
		set_lock_timeout_everywhere(timeout);
	}
	plan = plan_of(statement);
	result = statement->table->on_citus && timeout > 0 && !work->everywhere && statement->kind != STATEMENT_LOCK ?
		execute_with_timer(plan, statement, nulls, timeout) :
		SPI_execute_plan(plan, statement->values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not run a statement on %s: %s", statement->table->name,
			 SPI_result_code_string(result));
	statement->rows = SPI_processed;
	if (SPI_tuptable != NULL && statement->rows > 0)
	{
		HeapTuple	tuple = SPI_copytuple(SPI_tuptable->vals[0]);

		heap_deform_tuple(tuple, SPI_tuptable->tupdesc, statement->results,
						  statement->result_isnull);
	}
	if (work->everywhere)
		set_lock_timeout_everywhere(work->lock_timeout);
	SPI_finish();
}

/* ----------------------------------------------------------------
 *		The lock of a shard's metadata
 * ----------------------------------------------------------------
 */

/*
 * Citus lets the owner of the table take the lock.  Nothing is sent to other
 * servers.
 */
static void
lock_metadata(void *work)
{
	Oid			caller;
	int			security;

	GetUserIdAndSecContext(&caller, &security);
	SetUserIdAndSecContext(objects()->owner, security | SECURITY_LOCAL_USERID_CHANGE);
	work_on_statement(work);
	SetUserIdAndSecContext(caller, security);
}

static bool
is_locked(const text *scope)
{
	return locked.memory == memory_generation() && locked.objects == objects_generation() &&
		locked.length == (int) VARSIZE_ANY_EXHDR(scope) &&
		memcmp(locked.scope, VARDATA_ANY(scope), locked.length) == 0;
}

/*
 * Returns false if the limit ran out first.  The lock that was waited for goes
 * with a savepoint; taking it once more, for the whole transaction, does not
 * wait.  An interrupt would leave resources with an owner that outlives the
 * error.
 */
static bool
lock_shard(const Statement *statement, const WaitLimit *limit)
{
	Statement	lock = *statement;
	Work		work = {.statement = &lock,.lock_timeout = LockTimeout};
	ResourceOwner owner = CurrentResourceOwner;

	lock.kind = STATEMENT_LOCK;
	while (statement->table->on_citus && !is_locked(statement->scope))
	{
		locked.objects = objects_generation();
		if (!run_within(limit, 1, lock_metadata, &work))
			return false;

		/* The shard may have been split meanwhile. */
		AcceptInvalidationMessages();
		(void) distributed_table(AccessShareLock);
		if (locked.objects != objects_generation())
			continue;
		if (GetCurrentTransactionNestLevel() > 1)
		{
			HOLD_INTERRUPTS();
			CurrentResourceOwner = TopTransactionResourceOwner;
			lock_metadata(&work);
			CurrentResourceOwner = owner;
			RESUME_INTERRUPTS();
		}
		locked.memory = memory_generation();
		locked.length = VARSIZE_ANY_EXHDR(statement->scope);
		memcpy(locked.scope, VARDATA_ANY(statement->scope), locked.length);
	}
	return true;
}

void
begin_statement(Statement *statement, StatementKind kind, const IdempotencyKey *key)
{
	statement->table = distributed_table(kind == STATEMENT_PROBE ? AccessShareLock : RowExclusiveLock);
	statement->kind = kind;
	statement->scope = key->scope;
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
 * Only waits that ran out of time are counted: only the server that waited
 * knows the length of the others.
 */
bool
run_statement(Statement *statement, const WaitLimit *limit, StatsEntry *stats)
{
	bool		on_citus = statement->table->on_citus;
	Work		work = {.statement = statement,.lock_timeout = LockTimeout};
	instr_time	begun;
	instr_time	waited;
	int			nest_level = begin_as_caller(statement->table);
	bool		done = false;

	INSTR_TIME_SET_CURRENT(begun);
	if (lock_shard(statement, limit))
	{
		done = run_within(limit, on_citus ? PROMPT_MS : 1, work_on_statement, &work);
		work.everywhere = true;
		if (!done && on_citus)
			done = run_within(limit, 1, work_on_statement, &work);
	}
	end_as_caller(nest_level);
	if (done)
		return true;
	INSTR_TIME_SET_CURRENT(waited);
	INSTR_TIME_SUBTRACT(waited, begun);
	stats_count(stats, STATS_WAITS);
	stats_add(stats, STATS_TIME_WAITED, INSTR_TIME_GET_MICROSEC(waited));
	return false;
}
