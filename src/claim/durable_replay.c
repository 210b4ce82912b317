/*-------------------------------------------------------------------------
 *
 * durable_replay.c
 *	  Replays wait for synchronous standbys, as commits do.
 *
 * A commit becomes visible without the confirmation of the standbys if its
 * wait for them is canceled or its backend ends.  A replay of its result
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
 * So B waits as A did: until the standbys that synchronous_commit and
 * synchronous_standby_names require have confirmed the position up to which
 * WAL was flushed when B had read the row.  A row that B can see was flushed
 * before it became visible, except if its commit did not wait for the flush,
 * and then the first answer promised no more than the replay does.
 *
 * The server has no event on which other code could wait for standbys: its
 * queue is for commits, whose wait turns a cancel into a warning.  So B polls
 * the confirmed position, at increasing intervals, and holds no lock
 * meanwhile.
 *
 * With remote_apply a position in the middle of a record is not confirmed
 * before the rest of the record is flushed, which may take long on a quiet
 * server; so the WAL writer is asked to flush it.  A standby also does not
 * report at once that it has applied WAL without a commit: on a quiet server
 * that takes up to its wal_receiver_status_interval.
 *
 * Most results are old.  When a position is confirmed, so are all transactions
 * that had ended before the position was taken.  The backend remembers the
 * oldest transaction that was running then, and does not wait for a row that
 * an older one has written.  Transaction ids wrap around, so it forgets this
 * before the ids can have done so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
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
 * For each kind of confirmation: all transactions before this one had ended
 * when a position was taken that has been confirmed since.
 */
static struct
{
	TransactionId oldest_running;
	TimestampTz taken_at;
}			confirmed[NUM_SYNC_REP_WAIT_MODE];

/* The kind of confirmation for which the session's commits wait. */
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
 * Whether enough standbys have confirmed.  With priorities, there are only as
 * many candidates as have to confirm.
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
 * Whether the standbys have confirmed the position, or no standby is required
 * any more.  The server updates the positions for commits when a standby
 * answers; on a quiet server that may be long after a change of the settings,
 * so the last answers are checked as well.
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

/*
 * The end of the WAL that can be flushed.  At the start of a page the position of
 * the next record is after the page header, which does not exist before that
 * record: a flush up to that position would fail, and the server would stop.
 */
static XLogRecPtr
end_of_wal(void)
{
	XLogRecPtr	next = GetXLogInsertRecPtr();
	bool		first_page = XLogSegmentOffset(next, wal_segment_size) < XLOG_BLCKSZ;
	uint32		header = first_page ? SizeOfXLogLongPHD : SizeOfXLogShortPHD;

	return next % XLOG_BLCKSZ == header ? next - header : next;
}

static void
wait_for_confirmation(XLogRecPtr position, int kind)
{
	long		interval = FIRST_INTERVAL_MS;

	while (!is_confirmed(position, kind))
	{
		CHECK_FOR_INTERRUPTS();
		if (kind == SYNC_REP_WAIT_APPLY)
			XLogSetAsyncXactLSN(end_of_wal());
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 interval, new_wait_event("IdempotencyDurableReplay"));
		ResetLatch(MyLatch);
		interval = Min(interval * 2, LAST_INTERVAL_MS);
	}
}

bool
replay_is_durable(const KeyRow *row)
{
	/* The commit waits for the current transaction's own rows. */
	return !durable_replay || !SyncRepRequested() || !sync_standbys_defined() ||
		row->own || known_as_confirmed(row->writer, kind_of_confirmation());
}

void
wait_for_standbys(void)
{
	int			kind = kind_of_confirmation();
	TimestampTz taken_at = GetCurrentTimestamp();

	/*
	 * The order matters: transactions that had ended before the position was
	 * taken are covered by it.
	 */
	TransactionId oldest_running = GetLatestSnapshot()->xmin;

	wait_for_confirmation(GetFlushRecPtr(NULL), kind);
	confirmed[kind].oldest_running = oldest_running;
	confirmed[kind].taken_at = taken_at;
}
