/*-------------------------------------------------------------------------
 *
 * claim.c
 *	  Claiming a key: probe, judge, lock, probe again, write.
 *
 * judge() decides every outcome; claim_key() brings about the state in which
 * its verdict may be acted upon.
 *
 *		glance without lock ---- final verdict ------------> answer
 *			|
 *			anything else
 *			|
 *		key lock, probe -------- final verdict ------------> answer
 *			|	^
 *			|	+--- other transaction at work: wait for its end, unlocked
 *			|
 *			free, released, lease run out
 *			|
 *		write the row, release the lock -------------------> new, recovered
 *		(or defer that until the result is known: deferred.c)
 *
 * The glance is for replays: it makes them cheap, and keeps duplicates that
 * come in crowds from queueing for the lock.  Where keys are new it is wasted,
 * so it is left out by a backend whose last claim found nothing to answer with.
 * Where the lock is not free at once, a probe without it comes before the wait:
 * there may be an answer.
 *
 * In the distributed store, which has no such lock and must not be read before
 * it is written to, a claim begins with the write, as if it had probed and found
 * nothing, and goes on to probe where that is refused.  It is the writes that
 * wait there, and each says whether what was probed still holds.
 *
 * What two sessions see of each other, A being first:
 *
 *		- A has written its row and runs: B's probe shows the row with A's xid.
 *		  B waits for A's end, without any lock of the key, and probes again:
 *		  a result (A committed it), a lease (A committed the claim), or
 *		  nothing (A rolled back or crashed, also to a savepoint; B goes on to
 *		  claim).
 *		- A and B both find nothing: one gets the lock first and writes before
 *		  it lets go; the other probes under the lock, sees the row and waits
 *		  as above.  Reading before locking would let both write.
 *		- A's lease has run out and B and C take over: as the line before.  A,
 *		  coming late, finds the attempt higher than its own (complete.c).
 *		- A crash leaves no lock and no row but those of committed and prepared
 *		  transactions; the rest is seen as rolled back.
 *
 * A final verdict needs no lock: a result stays, a mismatch with it, and
 * "in progress" was true when it was read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "claim/claim.h"
#include "claim/durable_replay.h"
#include "error.h"
#include "key/fingerprint.h"
#include "miscadmin.h"
#include "store/deferred.h"
#include "interval.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(idempotency_claim);

/* What a probe means for a claim. */
typedef enum Verdict
{
	/* final */
	VERDICT_MISMATCH,
	VERDICT_REPLAY,
	VERDICT_IN_PROGRESS,
	/* once the transaction at work has ended, there is another verdict */
	VERDICT_IN_DOUBT,
	/* to be acted upon under the key's lock */
	VERDICT_RECOVER,			/* the lease has run out */
	VERDICT_RECLAIM,			/* released, or issued and not claimed yet */
	VERDICT_FREE				/* nothing stored */
} Verdict;

/* Whether this backend's last claim was answered with what was stored. */
static bool answered_last = false;

/* Whether the row is an unfinished claim of the current transaction. */
static bool
claimed_here(const KeyRow *row)
{
	return row->claimed_here && row->status == KEY_IN_PROGRESS;
}

/*
 * Decide what a probe means.  The order is the contract's: mismatch, replay,
 * in progress, recovered; what is left is for the caller.
 *
 * A row that another transaction is replacing is still the committed truth
 * while it says replay or in progress, but nothing may be built on its lease
 * having run out or on its being free until that transaction has ended.
 */
static Verdict
judge(const Probe *probe, const bytea *fingerprint, TimestampTz now)
{
	const KeyRow *row = &probe->row;
	bool		in_doubt = TransactionIdIsValid(probe->writer);

	if (probe->found && claimed_here(row))
		return VERDICT_IN_PROGRESS;

	/* W4: an expired row counts as absent. */
	if (!probe->found || row->expires_at <= now)
		return in_doubt ? VERDICT_IN_DOUBT : VERDICT_FREE;

	if (row->status == KEY_RELEASED || row->status == KEY_ISSUED)
		return in_doubt ? VERDICT_IN_DOUBT : VERDICT_RECLAIM;

	/* Its fingerprint was erased with its response. */
	if (row->status == KEY_ERASED)
		return VERDICT_REPLAY;

	if (fingerprints_differ(row->fingerprint, fingerprint))
		return VERDICT_MISMATCH;

	if (row->status != KEY_IN_PROGRESS)
		return VERDICT_REPLAY;

	if (row->lease_until > now)
		return VERDICT_IN_PROGRESS;

	return in_doubt ? VERDICT_IN_DOUBT : VERDICT_RECOVER;
}

void
claim_init(Claim *claim, text *name, text *scope)
{
	memset(claim, 0, sizeof(*claim));
	make_key(&claim->key, name, scope);
	check_scope_not_reserved(scope);
	policy_of_scope(&claim->policy, claim->key.scope);
	check_new_key_length(&claim->key, claim->policy.min_key_length);
	claim->first_sent = NO_TIME;
	wait_at_most(&claim->limit, &claim->policy.wait);
}

void
claim_lease(Claim *claim, Interval *lease)
{
	if (lease == NULL && interval_usecs(&claim->policy.lease) > 0)
		lease = &claim->policy.lease;
	claim->lease = lease;
}

void
claim_request(Claim *claim, Jsonb *request)
{
	claim->fingerprint = fingerprint_of(request);
}

static void
check_request_given(const Claim *claim)
{
	if (claim->policy.require_request && claim->fingerprint == NULL)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("request is missing for idempotency key \"%s\"",
						key_in_message(claim->key.name)),
				 errdetail("The policy of scope \"%s\" requires one.",
						   scope_in_message(claim->key.scope)),
				 errhint("Pass the payload of the request as jsonb.")));
}

/* A key that is not stored has not been issued, or no longer. */
static void
check_key_issued(const Claim *claim)
{
	if (claim->policy.require_issued)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_NOT_FOUND)),
				 errmsg("idempotency key \"%s\" was not issued",
						key_in_message(claim->key.name)),
				 errdetail("The policy of scope \"%s\" requires keys that issue() handed out and that have not expired.",
						   scope_in_message(claim->key.scope)),
				 errhint("Call issue() and use the key that it returns.")));
}

static void
count_outcome(const Claim *claim)
{
	static const StatsCounter counters[] = {
		[OUTCOME_NEW] = STATS_NEW,
		[OUTCOME_RECOVERED] = STATS_RECOVERED,
		[OUTCOME_REPLAY] = STATS_REPLAY,
		[OUTCOME_IN_PROGRESS] = STATS_IN_PROGRESS,
		[OUTCOME_MISMATCH] = STATS_MISMATCH,
		[OUTCOME_EXPIRED] = STATS_EXPIRED,
	};

	stats_count(claim->policy.stats, counters[claim->outcome]);
}

/* Take an outcome that leaves the key as it is. */
static void
answer(Claim *claim, Outcome outcome, const Probe *probe)
{
	claim->outcome = outcome;
	answered_last = outcome != OUTCOME_EXPIRED;
	claim->row_known = probe != NULL && probe->found;
	if (claim->row_known)
		claim->row = probe->row;
	if (outcome == OUTCOME_REPLAY)
		store_detach(&claim->row);
	count_outcome(claim);
}

/*
 * Become the owner: fill in and write the row, or put that off; or, where the
 * store waited for somebody until the limit ran out, answer.  False: probe
 * again.
 */
static bool
take(Claim *claim, Store *store, Verdict verdict, const Probe *probe,
	 TimestampTz now, TimestampTz expires_at)
{
	Interval   *ttl = claim->ttl;
	KeyRow		row = probe->found ? probe->row : (KeyRow) {0};

	/* A key issued for a time of its own keeps that, unless told otherwise. */
	if (verdict == VERDICT_RECLAIM && row.status == KEY_ISSUED &&
		ttl == NULL && row.ttl != NULL)
	{
		ttl = row.ttl;
		expires_at = time_after(now, ttl);
	}

	/*
	 * An earlier owner who has not ended its claim is known by a lower
	 * attempt as long as its row is there, expired or not; its recovery point
	 * and state are only for who takes over.
	 */
	if (verdict == VERDICT_FREE && probe->found && row.status != KEY_IN_PROGRESS)
		row.attempt = 0;
	if (row.attempt == PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("idempotency key \"%s\" has no attempts left",
						key_in_message(claim->key.name)),
				 errdetail("A further attempt could not be told from an earlier one."),
				 errhint("Use another key.")));
	row.attempt++;
	if (verdict != VERDICT_RECOVER)
	{
		row.recovery_point = NULL;
		row.state = NULL;
	}
	row.status = claim->once ? KEY_COMPLETED : KEY_IN_PROGRESS;
	row.fingerprint = claim->fingerprint;
	row.status_code = NO_STATUS_CODE;
	row.resource_id = NULL;
	row.response = NULL;
	row.ttl = ttl;
	row.lease = claim->lease;
	row.lease_until = claim->lease ? time_after(now, claim->lease) : NO_TIME;
	row.claimed_at = now;
	row.completed_at = claim->once ? now : NO_TIME;
	/* An unfinished claim never expires before its lease. */
	row.expires_at = Max(expires_at, row.lease_until);
	row.claimed_here = true;

	claim->deferred = row.status == KEY_IN_PROGRESS && row.lease == NULL &&
		!probe->found && store_defer(store, &claim->key, &row);
	if (!claim->deferred)
	{
		WriteResult result = store_write(store, &claim->key, &row, &claim->limit,
										 claim->policy.stats);

		if (result == WRITE_OUT_OF_TIME)
			answer(claim, OUTCOME_IN_PROGRESS, NULL);
		if (result != WRITE_DONE)
			return result == WRITE_OUT_OF_TIME;
	}
	claim->outcome = verdict == VERDICT_RECOVER ? OUTCOME_RECOVERED : OUTCOME_NEW;
	answered_last = false;
	claim->row_known = true;
	claim->row = row;
	count_outcome(claim);
	if (claim->once)
		stats_count(claim->policy.stats, STATS_COMPLETIONS);
	return true;
}

/* Whether the request may have run before and been forgotten. */
static bool
sent_too_early(const Claim *claim, TimestampTz now, const Interval *ttl)
{
	return claim->first_sent != NO_TIME &&
		claim->first_sent < time_before(now, ttl);
}

void
claim_key(Claim *claim, Store *store)
{
	const Interval *ttl = claim->ttl ? claim->ttl : &claim->policy.ttl;
	bool		unread = store_writes_first(store);
	bool		locked;
	bool		everywhere;

	check_request_given(claim);
	check_claims_admitted();
	locked = everywhere = (unread || !answered_last) && store_try_lock(store, &claim->key);
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz expires_at = time_after(now, ttl);
		Probe		probe;
		Verdict		verdict;
		bool		done = false;
		bool		in_time;
		TransactionId owner;

		CHECK_FOR_INTERRUPTS();
		claim->judged_at = now;
		store_refresh(store);
		if (unread)
		{
			probe.found = false;
			probe.writer = InvalidTransactionId;
		}
		else if (everywhere)
			store_probe(store, &claim->key, now, expires_at, &probe);
		else
			store_glance(store, &claim->key, now, expires_at, &probe);
		verdict = judge(&probe, claim->fingerprint, now);

		switch (verdict)
		{
			case VERDICT_MISMATCH:
				answer(claim, OUTCOME_MISMATCH, &probe);
				done = true;
				break;
			case VERDICT_REPLAY:
				answer(claim, OUTCOME_REPLAY, &probe);
				done = true;
				break;
			case VERDICT_IN_PROGRESS:
				answer(claim, OUTCOME_IN_PROGRESS, &probe);
				done = true;
				break;
			case VERDICT_IN_DOUBT:
				break;
			case VERDICT_FREE:
				if (!locked)
					break;
				if (unread && (claim->policy.require_issued ||
							   sent_too_early(claim, now, ttl)))
				{
					/* It is refused if really nothing is stored. */
					done = !store_touch(store, &claim->key, &claim->limit,
										claim->policy.stats);
					if (done)
						answer(claim, OUTCOME_IN_PROGRESS, NULL);
					break;
				}
				check_key_issued(claim);
				if (sent_too_early(claim, now, ttl))
				{
					answer(claim, OUTCOME_EXPIRED, NULL);
					done = true;
				}
				else
					done = take(claim, store, verdict, &probe, now, expires_at);
				break;
			case VERDICT_RECOVER:
			case VERDICT_RECLAIM:
				if (locked)
					done = take(claim, store, verdict, &probe, now, expires_at);
				break;
		}

		/*
		 * What refused a write is read; where it is gone by then, it is
		 * written to again.
		 */
		unread = store_writes_first(store) && !unread && !probe.found;

		if (locked && (done || verdict == VERDICT_IN_DOUBT) && !claim->deferred)
		{
			store_unlock(store, &claim->key);
			locked = false;
		}
		if (done)
			return;

		/*
		 * Go on with the lock.  (A caller who has it already was refused by
		 * the unique index, and probes again.)
		 */
		if (verdict != VERDICT_IN_DOUBT && !locked)
			locked = store_try_lock(store, &claim->key);
		if (locked || !everywhere)
		{
			everywhere = true;
			continue;
		}

		store_close(store);
		if (!keylock_join_waiters(&claim->key))
		{
			answer(claim, OUTCOME_IN_PROGRESS, NULL);
			return;
		}

		/*
		 * Whoever keeps the lock for a claim that is not written yet is waited
		 * for by its transaction: many can do that at once.
		 */
		owner = verdict == VERDICT_IN_DOUBT ? probe.writer : deferred_owner(&claim->key);
		if (TransactionIdIsValid(owner))
			in_time = wait_for_transaction(owner, &claim->limit, claim->policy.stats);
		else
			in_time = locked = store_lock(store, &claim->key, &claim->limit, claim->policy.stats);
		keylock_leave_waiters(&claim->key);

		/*
		 * Out of time: whoever runs the transaction or holds the lock is at
		 * work on this key.
		 */
		if (!in_time)
		{
			answer(claim, OUTCOME_IN_PROGRESS, NULL);
			return;
		}
	}
}

/*
 * claim(key text, scope text, request jsonb, ttl interval, lease interval,
 *		 wait interval, first_sent timestamptz) returns claim_result
 *
 * Claims the key for the calling transaction.  Intervals that are NULL are as
 * the scope's policy and the settings say.  Raises IK400 for a bad key or
 * interval, READ_ONLY_SQL_TRANSACTION where nothing may be written, and
 * T_R_DEADLOCK_DETECTED as any wait may.
 */
Datum
idempotency_claim(PG_FUNCTION_ARGS)
{
	Claim		claim;
	Store		store;
	Interval   *wait;

	PreventCommandIfReadOnly("idempotency.claim()");
	claim_init(&claim, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
	claim_request(&claim, PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2));
	claim.ttl = interval_from_arg(fcinfo, 3, "ttl");
	claim_lease(&claim, interval_from_arg(fcinfo, 4, "lease"));
	wait = wait_from_arg(fcinfo, 5);
	if (wait != NULL)
		wait_at_most(&claim.limit, wait);
	if (!PG_ARGISNULL(6))
		claim.first_sent = Max(PG_GETARG_TIMESTAMPTZ(6), MIN_TIMESTAMP);

	store_open(&store);
	claim_key(&claim, &store);
	store_close(&store);
	if (claim.outcome == OUTCOME_REPLAY && !replay_is_durable(&claim.row))
		wait_for_standbys();
	PG_RETURN_DATUM(claim_result_datum(&claim));
}
