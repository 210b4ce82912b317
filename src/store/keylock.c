/*-------------------------------------------------------------------------
 *
 * keylock.c
 *	  The lock of a key, and waits with a limit.
 *
 * The lock is an advisory lock of our own class, named by 64 bits of the
 * key's hash.  Whoever writes a row of the key holds it from before the probe
 * that the write relies on until the row is written, and no longer: from then
 * on the uncommitted row itself is the guard.  So a lock is held for a moment
 * only, and what there is to wait for is the end of the transaction that wrote
 * the row; but for execute(), which writes the row when its command has
 * returned, and holds the lock until then (deferred.c).  A transaction that
 * claims many keys holds at most two of them: that of a command, and that of a
 * claim which the command makes.
 *
 * The lock only orders.  Keys that share its 64 bits cost each other time,
 * nothing else.
 *
 * A wait with a limit is a wait in the lock manager with lock_timeout set to
 * what is left, inside a subtransaction.  The error that ends it is caught
 * there, the subtransaction is rolled back, and the caller's transaction goes
 * on.  Deadlock check, cancel, pg_locks and pg_blocking_pids() are the lock
 * manager's own.  Only a caller who really waits pays for the subtransaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "store/keylock.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* One of the two things that a caller waits for, and where that is counted. */
typedef struct WaitTarget
{
	const LOCKTAG *keylock;		/* NULL: wait for xid */
	TransactionId xid;
	StatsEntry *stats;
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
	/* A limit under a millisecond is not none. */
	limit->allowed_ms = ms >= INT_MAX ? INT_MAX : ms > 0 && ms < 1 ? 1 : (int64) ms;
	if (limit->allowed_ms > 0)
		INSTR_TIME_SET_CURRENT(limit->begun);
}

/* Milliseconds left, INT_MAX where there is no limit. */
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

static void
wait_for(void *argument)
{
	const WaitTarget *target = argument;
	instr_time	begun;
	instr_time	waited;

	stats_count(target->stats, STATS_WAITS);
	INSTR_TIME_SET_CURRENT(begun);
	PG_TRY();
	{
		if (target->keylock != NULL)
			(void) LockAcquire(target->keylock, ExclusiveLock, false, false);
		else
			XactLockTableWait(target->xid, NULL, NULL, XLTW_None);
	}
	PG_FINALLY();
	{
		INSTR_TIME_SET_CURRENT(waited);
		INSTR_TIME_SUBTRACT(waited, begun);
		stats_add(target->stats, STATS_TIME_WAITED, INSTR_TIME_GET_MICROSEC(waited));
	}
	PG_END_TRY();
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
		ended = true;

		/* A lock taken inside now belongs to the surrounding transaction. */
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
	int			left = Max(time_left(limit), least_ms);

	if (left == 0)
		return false;
	if (limit->limited && (LockTimeout == 0 || LockTimeout > left))
		return work_with_timeout(left, work, argument);
	work(argument);
	return true;
}

static void
keylock_tag(LOCKTAG *tag, const IdempotencyKey *key)
{
	uint64		bits = key_lock_bits(&key->hash);

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (bits >> 32), (uint32) bits, KEYLOCK_CLASS);
}

/*
 * The lock belongs to the transaction, not to the portal that runs the caller:
 * a lock taken in the subtransaction of a wait passes to the surrounding
 * transaction when that subtransaction ends, and can only be let go on behalf
 * of its owner.
 */
static bool
acquire(const IdempotencyKey *key, const WaitLimit *limit, StatsEntry *stats)
{
	ResourceOwner caller = CurrentResourceOwner;
	LOCKTAG		tag;
	WaitTarget	target = {
		.keylock = &tag,
		.stats = stats
	};
	bool		acquired;

	keylock_tag(&tag, key);
	CurrentResourceOwner = CurTransactionResourceOwner;
	acquired = limit == NULL ?
		LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL :
		run_within(limit, 0, wait_for, &target);
	CurrentResourceOwner = caller;
	return acquired;
}

bool
keylock_try(const IdempotencyKey *key)
{
	return acquire(key, NULL, NULL);
}

bool
keylock_wait(const IdempotencyKey *key, const WaitLimit *limit, StatsEntry *stats)
{
	return acquire(key, limit, stats);
}

void
keylock_release(const IdempotencyKey *key)
{
	LOCKTAG		tag;
	ResourceOwner owner = CurrentResourceOwner;

	keylock_tag(&tag, key);
	CurrentResourceOwner = CurTransactionResourceOwner;
	if (!LockRelease(&tag, ExclusiveLock, false))
		elog(ERROR, "lock of idempotency key is not held");
	CurrentResourceOwner = owner;
}

bool
wait_for_transaction(TransactionId xid, const WaitLimit *limit, StatsEntry *stats)
{
	WaitTarget	target = {
		.xid = xid,
		.stats = stats
	};

	/* It may have ended since it was seen; that is no wait. */
	if (!TransactionIdIsInProgress(xid))
		return true;
	return run_within(limit, 0, wait_for, &target);
}
