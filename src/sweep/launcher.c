/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  Sweeping in the background: the process that starts the workers.
 *
 * The launcher lives as long as the server.  It is connected to no database.
 * Each round it lists the databases, starts a worker (worker.c) for one after
 * the other, and waits for each to end.  No worker connects to a template
 * database.
 *
 * It starts when recovery has ended: on a standby there is nothing to do, and
 * after a promotion the postmaster starts it.  If it ends for any reason, the
 * postmaster starts it again.  The error of a worker that fails is in the
 * server's log; the launcher continues with the next database.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "compat.h"
#include "guc.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "sweep/launcher.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#define LIBRARY				"idempotency"
#define RESTART_SECONDS		5

/* A worker that takes longer than this is ended. */
#define WORKER_LIMIT_MS		20000

/* How long the launcher waits for that end. */
#define WORKER_GRACE_MS		1000

PGDLLEXPORT void idempotency_launcher_main(Datum arg);

/* A database to be swept. */
typedef struct Target
{
	Oid			oid;
	char	   *name;
} Target;

/* Workers that did not end when they were asked to. */
typedef struct Overdue
{
	Oid			database;
	BackgroundWorkerHandle *handle;
} Overdue;

static List *overdue = NIL;

static void
describe_worker(BackgroundWorker *worker, const char *function)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	strlcpy(worker->bgw_library_name, LIBRARY, sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, function, sizeof(worker->bgw_function_name));
}

void
register_launcher(void)
{
	BackgroundWorker worker;

	/*
	 * During pg_upgrade no other process may write, or assign a transaction
	 * id.
	 */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	describe_worker(&worker, "idempotency_launcher_main");
	worker.bgw_restart_time = RESTART_SECONDS;
	strlcpy(worker.bgw_name, "idempotency launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "idempotency launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* Log the names in the setting that match no database, once for each value. */
static void
report_unknown_databases(const List *databases)
{
	static char *reported = NULL;
	char	   *names;
	List	   *list;
	ListCell   *cell;

	if (reported != NULL && strcmp(reported, sweep_databases) == 0)
		return;
	if (reported != NULL)
		pfree(reported);
	reported = MemoryContextStrdup(TopMemoryContext, sweep_databases);
	names = pstrdup(sweep_databases);
	(void) SplitIdentifierString(names, ',', &list);
	foreach(cell, list)
	{
		if (!list_member(databases, makeString(lfirst(cell))))
			ereport(LOG,
					(errmsg("database \"%s\" in idempotency.sweep_databases does not exist", (char *) lfirst(cell)),
					 errhint("Names are folded to lower case unless they are quoted.")));
	}
}

/* Whether the setting names the database, or is empty. */
static bool
is_wanted(const char *name)
{
	char	   *names = pstrdup(sweep_databases);
	List	   *list;
	ListCell   *cell;

	/* The setting's check hook has verified that it can be split. */
	(void) SplitIdentifierString(names, ',', &list);
	foreach(cell, list)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	}
	return list == NIL;
}

/*
 * The databases to be swept, allocated in the given context.  The catalog is
 * read without an index: a process without a database can't open an index again
 * after an invalidation message about it.
 */
static List *
list_targets(MemoryContext context)
{
	List	   *targets = NIL;
	List	   *databases = NIL;
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext caller;
		Target	   *target;

		databases = lappend(databases, makeString(pstrdup(NameStr(database->datname))));
		if (!database->datallowconn || database->datistemplate ||
			database_is_invalid(database) ||
			!is_wanted(NameStr(database->datname)))
			continue;
		caller = MemoryContextSwitchTo(context);
		target = palloc(sizeof(Target));
		target->oid = database->oid;
		target->name = pstrdup(NameStr(database->datname));
		targets = lappend(targets, target);
		MemoryContextSwitchTo(caller);
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	report_unknown_databases(databases);
	CommitTransactionCommand();
	return targets;
}

/* Wait at most so long for a worker's end; returns whether it has ended. */
static bool
worker_ends(BackgroundWorkerHandle *handle, int ms)
{
	TimestampTz limit = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);

	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), limit);
		pid_t		pid;
		BgwHandleStatus status;

		CHECK_FOR_INTERRUPTS();
		status = GetBackgroundWorkerPid(handle, &pid);
		if (status == BGWH_POSTMASTER_DIED)
			proc_exit(1);
		if (status == BGWH_STOPPED || left <= 0)
			return status == BGWH_STOPPED;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 left, WAIT_EVENT_BGWORKER_SHUTDOWN);
		ResetLatch(MyLatch);
	}
}

/* Whether an overdue worker of the database has still not ended. */
static bool
has_overdue_worker(Oid database)
{
	ListCell   *cell;

	foreach(cell, overdue)
	{
		Overdue    *worker = lfirst(cell);

		if (worker->database != database)
			continue;
		if (!worker_ends(worker->handle, 0))
			return true;
		overdue = foreach_delete_current(overdue, cell);
		pfree(worker->handle);
		pfree(worker);
	}
	return false;
}

/* End a worker that takes too long; note it as overdue if it does not end. */
static void
end_worker(const Target *target, BackgroundWorkerHandle *handle)
{
	ereport(LOG,
			(errmsg("ending the worker that sweeps expired idempotency keys of database \"%s\"", target->name),
			 errdetail("It has not ended after %d seconds.", WORKER_LIMIT_MS / 1000)));
	TerminateBackgroundWorker(handle);
	if (worker_ends(handle, WORKER_GRACE_MS))
		pfree(handle);
	else
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
		Overdue    *worker = palloc(sizeof(Overdue));

		worker->database = target->oid;
		worker->handle = handle;
		overdue = lappend(overdue, worker);
		MemoryContextSwitchTo(caller);
	}
}

/*
 * Start a worker and wait for its end, up to a limit, so that one database
 * can't delay the others for ever.  Returns false if no worker can start.
 */
static bool
sweep_database(const Target *target)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;

	if (has_overdue_worker(target->oid))
		return true;
	describe_worker(&worker, "idempotency_worker_main");
	worker.bgw_flags |= WORKER_GIVES_WAY;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(target->oid);
	worker.bgw_notify_pid = MyProcPid;
	snprintf(worker.bgw_name, BGW_MAXLEN, "idempotency sweeper for database %s", target->name);
	strlcpy(worker.bgw_type, "idempotency sweeper", BGW_MAXLEN);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		ereport(LOG,
				(errmsg("could not start a worker to sweep expired idempotency keys"),
				 errhint("You might need to increase max_worker_processes.")));
		return false;
	}
	if (worker_ends(handle, WORKER_LIMIT_MS))
		pfree(handle);
	else
		end_worker(target, handle);
	return true;
}

static void
reload_settings(void)
{
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

static void
sweep_all_databases(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "databases to be swept",
												  ALLOCSET_SMALL_SIZES);
	ListCell   *cell;

	foreach(cell, list_targets(context))
	{
		CHECK_FOR_INTERRUPTS();
		reload_settings();
		if (!worker_enabled || !sweep_database(lfirst(cell)))
			break;
	}
	MemoryContextDelete(context);
}

/*
 * Rest until the given time or a signal; if the worker is off, until a signal.
 */
static void
rest(uint32 wait_event, TimestampTz until)
{
	long		ms = worker_enabled ?
		TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until) : -1;

	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (ms >= 0 ? WL_TIMEOUT : 0),
					 ms, wait_event);
	ResetLatch(MyLatch);
}

void
idempotency_launcher_main(Datum arg)
{
	uint32		wait_event = new_wait_event("IdempotencySweepRest");
	TimestampTz last_round = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(InvalidOid, InvalidOid, 0);

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();

		CHECK_FOR_INTERRUPTS();
		reload_settings();
		/* The clock may have been set back. */
		if (worker_enabled &&
			(now >= last_round + sweep_interval || now < last_round))
		{
			last_round = now;
			sweep_all_databases();
			pgstat_report_activity(STATE_IDLE, NULL);
		}
		else
			rest(wait_event, last_round + sweep_interval);
	}
}
