/*-------------------------------------------------------------------------
 *
 * durable_replay.c
 *	  Replays wait for synchronous standbys, as commits do.
 *
 * A commit is visible before its client is answered by the standbys' leave, if
 * its wait for them is cancelled or its backend ends.  A replay of its result
 * would promise what a failover can still lose:
 *
 *		A							standby				B
 *		claim K, work, COMMIT
 *		  flushed; waits			does not answer
 *		  for the standby
 *		terminated: K is
 *		  committed here
 *													claim K: replay?
 *									promoted: K is new,
 *									  no work was done
 *
 * So B waits for what A waited for: until the standbys that synchronous_commit
 * and synchronous_standby_names ask for have confirmed the position up to which
 * WAL was flushed when B had read the row.  What B has read was flushed before it
 * was visible, but for a commit that asked for no flush, whose own answer promised
 * no more.
 *
 * The server offers nothing to wait for from outside: its queue belongs to
 * commits, whose wait swallows a cancel and ends with a warning.  B looks at the
 * confirmed position again and again, at lengthening intervals, and holds nothing
 * meanwhile.
 *
 * With remote_apply a position in the middle of a record is not confirmed before
 * the rest of the record is flushed, which may be long after on a quiet server.
 * The WAL writer is asked to flush it.  Nor does a standby tell at once what it
 * has applied of WAL that has no commit in it: on a quiet server that takes up to
 * its wal_receiver_status_interval.
 *
 * Most results are old.  Each time that a position is confirmed, all transactions
 * that had ended before it was taken are known to be: the oldest transaction that
 * was still running then is remembered, and a row that an older one has written
 * is not waited for.  Transactions are numbered in a circle, so that is forgotten
 * after a time in which the numbers can't go round.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "claim/durable_replay.h"
#include "compat.h"
#include "guc.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define FIRST_INTERVAL_MS	1
#define LAST_INTERVAL_MS	50

/* How long a confirmed transaction is remembered, in microseconds. */
#define CONFIRMED_FOR		USECS_PER_HOUR

/*
 * Per kind of confirmation: transactions before this one had ended when a
 * position was taken that was confirmed since.
 */
static struct
{
	TransactionId oldest_running;
	TimestampTz taken_at;
}			confirmed[NUM_SYNC_REP_WAIT_MODE];

/* What the session's commits wait for. */
static int
kind_of_confirmation(void)
{
	switch (synchronous_commit)
	{
		case SYNCHRONOUS_COMMIT_REMOTE_WRITE:
			return SYNC_REP_WAIT_WRITE;
		case SYNCHRONOUS_COMMIT_REMOTE_APPLY:
			return SYNC_REP_WAIT_APPLY;
		default:
			return SYNC_REP_WAIT_FLUSH;
	}
}

static XLogRecPtr
position_of(const SyncRepStandbyData *standby, int kind)
{
	switch (kind)
	{
		case SYNC_REP_WAIT_WRITE:
			return standby->write;
		case SYNC_REP_WAIT_APPLY:
			return standby->apply;
		default:
			return standby->flush;
	}
}

/*
 * Whether enough standbys have said so.  Of those that count by priority no more
 * than have to confirm are candidates.
 */
static bool
candidates_confirm(XLogRecPtr position, int kind)
{
	SyncRepStandbyData *standbys;
	int			count = SyncRepGetCandidateStandbys(&standbys);
	int			confirming = 0;

	if (count == 0)
		return false;
	for (int i = 0; i < count; i++)
	{
		if (position_of(&standbys[i], kind) >= position)
			confirming++;
	}
	pfree(standbys);
	return confirming >= SyncRepConfig->num_sync;
}

/*
 * Whether the standbys have confirmed the position, or none is asked any more.
 * What is kept for commits is brought up to date when a standby answers; on a
 * quiet server that may be long after the settings were changed, so that the
 * last answers are looked at, too.
 */
static bool
is_confirmed(XLogRecPtr position, int kind)
{
	bool		result;

	LWLockAcquire(SyncRepLock, LW_SHARED);
	result = !sync_standbys_defined() || WalSndCtl->lsn[kind] >= position;
	LWLockRelease(SyncRepLock);
	return result || candidates_confirm(position, kind);
}

static bool
known_as_confirmed(TransactionId writer, int kind)
{
	return TransactionIdIsNormal(writer) &&
		TransactionIdIsValid(confirmed[kind].oldest_running) &&
		TransactionIdPrecedes(writer, confirmed[kind].oldest_running) &&
		GetCurrentTimestamp() - confirmed[kind].taken_at < CONFIRMED_FOR;
}

static void
wait_for_confirmation(XLogRecPtr position, int kind)
{
	long		interval = FIRST_INTERVAL_MS;

	while (!is_confirmed(position, kind))
	{
		CHECK_FOR_INTERRUPTS();
		if (kind == SYNC_REP_WAIT_APPLY)
			XLogSetAsyncXactLSN(GetXLogInsertRecPtr());
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 interval, new_wait_event("IdempotencyDurableReplay"));
		ResetLatch(MyLatch);
		interval = Min(interval * 2, LAST_INTERVAL_MS);
	}
}

bool
replay_is_durable(const KeyRow *row)
{
	/* What the current transaction has written waits at its commit. */
	return !durable_replay || !SyncRepRequested() || !sync_standbys_defined() ||
		row->own || known_as_confirmed(row->writer, kind_of_confirmation());
}

void
wait_for_standbys(void)
{
	int			kind = kind_of_confirmation();
	TimestampTz taken_at = GetCurrentTimestamp();

	/* In this order: what had ended before the position was taken is in it. */
	TransactionId oldest_running = GetLatestSnapshot()->xmin;

	wait_for_confirmation(GetFlushRecPtr(NULL), kind);
	confirmed[kind].oldest_running = oldest_running;
	confirmed[kind].taken_at = taken_at;
}
