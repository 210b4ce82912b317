/*-------------------------------------------------------------------------
 *
 * wait.c
 *	  Waits with a limit.
 *
 * A wait with a limit is a wait in the lock manager with lock_timeout set to
 * what is left, inside a subtransaction.  The error that ends it is caught
 * there, the subtransaction is rolled back, and the caller's transaction goes
 * on.  Deadlock check, cancel, pg_locks and pg_blocking_pids() are the lock
 * manager's own.  Only a caller that really waits pays for the subtransaction.
 *
 * The lock manager measures lock_timeout separately for each lock.  So a
 * caller that waits for several in turn passes the time that is left for each:
 * the subtransaction that wrote a row may end and leave the row to its parent,
 * which then has to be waited for.
 *
 * The timer may fire in the instant in which the lock is granted.  Then the
 * lock is held and a cancel request is pending, which the next check for
 * interrupts executes.  That check is made inside the subtransaction: outside,
 * it would abort the caller's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "store/wait.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* The lock that a caller waits for, and the counters of the wait. */
typedef struct WaitTarget
{
	const LOCKTAG *tag;
	LOCKMODE	mode;
	bool		keep;			/* the lock is to be kept */
	StatsEntry *stats;
	bool		counted;
} WaitTarget;

void
wait_unlimited(WaitLimit *limit)
{
	limit->limited = false;
}

void
wait_at_most(WaitLimit *limit, const Interval *interval)
{
	double		ms;

	ms = (double) interval->time / 1000.0 +
		((double) interval->month * DAYS_PER_MONTH + interval->day) *
		(double) SECS_PER_DAY * 1000.0;
	limit->limited = true;
	/* A limit under a millisecond is still a limit. */
	limit->allowed_ms = ms >= INT_MAX ? INT_MAX : ms > 0 && ms < 1 ? 1 : (int64) ms;
	if (limit->allowed_ms > 0)
		INSTR_TIME_SET_CURRENT(limit->begun);
}

/* Milliseconds left; INT_MAX if there is no limit. */
static int
time_left(const WaitLimit *limit)
{
	instr_time	elapsed;
	int64		left;

	if (!limit->limited)
		return INT_MAX;
	if (limit->allowed_ms == 0)
		return 0;
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, limit->begun);
	left = limit->allowed_ms - (int64) INSTR_TIME_GET_MILLISEC(elapsed);
	return left > 0 ? (int) left : 0;
}

/* Work with another lock_timeout, in a subtransaction that its expiry undoes. */
static bool
work_with_timeout(int timeout, void (*work) (void *), void *argument)
{
	int			session_timeout = LockTimeout;
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ended = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		LockTimeout = timeout;
		work(argument);
		LockTimeout = session_timeout;
		CHECK_FOR_INTERRUPTS();
		ended = true;

		/*
		 * A lock that was taken inside now belongs to the surrounding
		 * transaction.
		 */
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		LockTimeout = session_timeout;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;

		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	return ended;
}

bool
run_within(const WaitLimit *limit, int least_ms, void (*work) (void *), void *argument)
{
	int			left = time_left(limit);
	int			timeout = Max(left, least_ms);

	if (timeout == 0)
		return false;

	/*
	 * The minimum must not exceed a lock_timeout to which the limit would not
	 * have come.
	 */
	if (limit->limited && (LockTimeout == 0 || LockTimeout > left))
		return work_with_timeout(LockTimeout == 0 ? timeout : Min(timeout, LockTimeout),
								 work, argument);
	work(argument);
	return true;
}

static void
lock_target(void *argument)
{
	WaitTarget *target = argument;
	instr_time	begun;
	instr_time	waited;

	if (!target->counted)
		stats_count(target->stats, STATS_WAITS);
	target->counted = true;
	INSTR_TIME_SET_CURRENT(begun);
	PG_TRY();
	{
		(void) LockAcquire(target->tag, target->mode, false, false);
	}
	PG_FINALLY();
	{
		INSTR_TIME_SET_CURRENT(waited);
		INSTR_TIME_SUBTRACT(waited, begun);
		stats_add(target->stats, STATS_TIME_WAITED, INSTR_TIME_GET_MICROSEC(waited));
	}
	PG_END_TRY();
	if (!target->keep)
		(void) LockRelease(target->tag, target->mode, false);
}

/*
 * The lock is owned by the transaction, not by the portal that runs the
 * caller: a lock that was taken in the subtransaction of a wait passes to the
 * surrounding transaction when that subtransaction ends, and can only be
 * released on behalf of its owner.
 */
static bool
run_wait(WaitTarget *target, const WaitLimit *limit, int least_ms)
{
	ResourceOwner caller = CurrentResourceOwner;
	bool		done;

	CurrentResourceOwner = CurTransactionResourceOwner;
	done = run_within(limit, least_ms, lock_target, target);
	CurrentResourceOwner = caller;
	return done;
}

bool
wait_for_lock(const LOCKTAG *tag, LOCKMODE mode, const WaitLimit *limit, int least_ms,
			  StatsEntry *stats)
{
	WaitTarget	target = {
		.tag = tag,
		.mode = mode,
		.keep = true,
		.stats = stats
	};

	return run_wait(&target, limit, least_ms);
}

bool
wait_for_transaction(TransactionId xid, const WaitLimit *limit, StatsEntry *stats)
{
	TransactionId level = xid;
	LOCKTAG		tag;
	WaitTarget	target = {
		.tag = &tag,
		.mode = ShareLock,
		.stats = stats
	};

	/* If it has ended since it was seen, there is no wait. */
	while (TransactionIdIsInProgress(xid))
	{
		CHECK_FOR_INTERRUPTS();
		SET_LOCKTAG_TRANSACTION(tag, level);
		if (!run_wait(&target, limit, 0))
			return false;

		/*
		 * A subtransaction that is released lasts as long as its parent,
		 * which may be rolled back before the whole transaction ends.
		 */
		if (TransactionIdIsInProgress(xid))
		{
			TransactionId parent = SubTransGetParent(level);

			if (TransactionIdIsValid(parent))
				level = parent;
		}
	}
	return true;
}
