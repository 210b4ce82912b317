/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  Sweeping in the background: the worker of one database.
 *
 * A worker, which the launcher has started, sweeps its database, if the
 * extension is installed there, and exits.  It must not obstruct other
 * sessions:
 *
 *		- DROP DATABASE, CREATE DATABASE .. TEMPLATE, and ALTER DATABASE ..
 *		  RENAME give other sessions five seconds to leave.  The worker begins
 *		  no new piece of work after one second, and PostgreSQL 19 ends it at
 *		  once.
 *		- Each slot is turned in a transaction of its own, and few rows are
 *		  deleted in one, so that a claim of such a key waits for milliseconds.
 *		- It waits for a lock for less than deadlock_timeout, so that in a
 *		  deadlock the worker fails and not the other session, which may run
 *		  DROP EXTENSION.  The next round tries again.
 *
 * Settings of the server, the database or a role that could stop the worker
 * are overridden before it connects, as autovacuum does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "compat.h"
#include "guc.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "stats.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "store/store.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* The worker begins nothing new after this time. */
#define WORKER_TIME_MS		1000

/*
 * The longest wait for a lock, unless deadlock_timeout requires a shorter one.
 */
#define WORKER_LOCK_WAIT_MS	500

PGDLLEXPORT void idempotency_worker_main(Datum arg);

/*
 * Override settings of server, database and role that could stop the work.
 * Commits don't wait for the disk, since claims would queue behind them: if a
 * crash undoes the deletion of rows, these have expired as before, and the
 * turn of a slot is flushed like every transaction that removes files.
 */
static void
override_settings(void)
{
	char		lock_wait[16];

	snprintf(lock_wait, sizeof(lock_wait), "%d",
			 Max(1, Min(WORKER_LOCK_WAIT_MS, DeadlockTimeout / 2)));
	SetConfigOption("lock_timeout", lock_wait, PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("idle_in_transaction_session_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	if (HAVE_TRANSACTION_TIMEOUT)
		SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_deferrable", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("zero_damaged_pages", "off", PGC_SUSET, PGC_S_OVERRIDE);
}

static bool
time_is_up(TimestampTz began)
{
	return TimestampDifferenceExceeds(began, GetCurrentTimestamp(), WORKER_TIME_MS);
}

/*
 * Sweep the database, each piece in its own transaction.  Returns whether the
 * extension is installed.
 */
static bool
sweep_in_steps(Expiry *expiry)
{
	TimestampTz began = GetCurrentTimestamp();
	bool		installed = true;
	bool		more = true;

	while (more && !time_is_up(began))
	{
		CHECK_FOR_INTERRUPTS();
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		installed = OidIsValid(get_extension_oid("idempotency", true));
		more = installed;
		if (installed)
		{
			pgstat_report_activity(STATE_RUNNING, "sweeping expired idempotency keys");
			more = store_expire(expiry);
		}
		PopActiveSnapshot();
		CommitTransactionCommand();
		pgstat_report_activity(STATE_IDLE, NULL);
	}
	pgstat_report_stat(true);
	return installed;
}

/*
 * Sweep the database and count it; an error is counted before it ends the
 * worker.
 */
static void
sweep_here(void)
{
	Expiry		expiry;
	bool		installed;

	store_begin_expiry(&expiry, sweep_batch);
	PG_TRY();
	{
		installed = sweep_in_steps(&expiry);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(TopMemoryContext);
		stats_count_sweep(expiry.slots_cleared, expiry.rows_deleted,
						  CopyErrorData()->message);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (installed)
		stats_count_sweep(expiry.slots_cleared, expiry.rows_deleted, NULL);
}

/* The log names the worker, and with it the database, below each error. */
static void
name_worker(void *arg)
{
	errcontext("%s", MyBgworkerEntry->bgw_name);
}

void
idempotency_worker_main(Datum arg)
{
	ErrorContextCallback context = {.previous = error_context_stack,.callback = name_worker};

	error_context_stack = &context;
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	override_settings();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	sweep_here();
	proc_exit(0);
}
