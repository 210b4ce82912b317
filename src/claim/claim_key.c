/*-------------------------------------------------------------------------
 *
 * claim_key.c
 *	  Claiming a key: probe, judge, lock, probe again, write.
 *
 * judge() decides every outcome; claim_key() takes the locks and waits that
 * are needed before its verdict may be acted upon.
 *
 *		probe without lock ----- final verdict ------------> answer
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
 * The probe without the lock is for replays: it makes them cheap, and keeps
 * many concurrent duplicates from queueing for the lock.  For a new key it is
 * wasted, so a backend whose last claim was not answered from a stored row
 * skips it, unless the lock is not free at once: then the probe may find an
 * answer.
 *
 * The distributed store has no such lock, and must be written to before it is
 * read.  There a claim begins with the write, as if it had probed and found
 * nothing, and probes if the write is refused.  The writes wait for other
 * transactions, and each reports whether the probed version is still the
 * current one.
 *
 * What two sessions see of each other, A being first:
 *
 *		- A has written its row and is in progress: B's probe shows the row
 *		  with A's xid.  B waits for A's end, without any lock of the key, and
 *		  probes again: a result (A committed it), a lease (A committed the
 *		  claim), or nothing (A rolled back or crashed, also to a savepoint; B
 *		  goes on to claim).
 *		- A and B both find nothing: one gets the lock first and writes before
 *		  it releases the lock; the other probes under the lock, sees the row
 *		  and waits as above.  If they relied on the probe before the lock,
 *		  both would write.
 *		- A's lease has run out and both B and C try to take over: as in the
 *		  previous case.  If A returns late, it finds an attempt higher than
 *		  its own (complete.c).
 *		- A crash leaves only the locks and rows of committed and prepared
 *		  transactions; all others count as rolled back.
 *
 * A final verdict needs no lock: a result does not change, nor does a mismatch
 * with it, and "in progress" was true when it was read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "claim/claim.h"
#include "error.h"
#include "key/fingerprint.h"
#include "miscadmin.h"
#include "store/choice.h"
#include "store/deferred.h"
#include "store/keylock.h"
#include "interval.h"
#include "utils/builtins.h"

/* What a probe means for a claim. */
typedef enum Verdict
{
	/* final */
	VERDICT_MISMATCH,
	VERDICT_REPLAY,
	VERDICT_IN_PROGRESS,
	/* to be judged again when the other transaction has ended */
	VERDICT_IN_DOUBT,
	/* to be acted upon under the key's lock */
	VERDICT_RECOVER,			/* the lease has run out */
	VERDICT_RECLAIM,			/* released, or issued and not claimed yet */
	VERDICT_FREE				/* nothing stored */
} Verdict;

/* How the key is probed. */
typedef enum Look
{
	LOOK_UNLOCKED,				/* without the lock: "nothing" may be wrong */
	LOOK_LOCKED,				/* under the lock */
	LOOK_BLIND					/* not at all: the store is written to first */
} Look;

/* Whether this backend's last claim was answered from a stored row. */
static bool answered_last = false;

/* Whether the row is an unfinished claim of the current transaction. */
static bool
unfinished_here(const KeyRow *row)
{
	return row->claimed_here && row->status == KEY_IN_PROGRESS;
}

/*
 * Decide what a probe means.  The order is the contract's: mismatch, replay,
 * in progress, recovered; what is left is for the caller.
 *
 * If another transaction is replacing a row, the row is still the committed
 * state, and a verdict of replay or in progress is valid.  But that its lease
 * has run out, or that the key is free, may be acted upon only when that
 * transaction has ended.
 */
static Verdict
judge(const Probe *probe, const bytea *fingerprint, TimestampTz now)
{
	const KeyRow *row = &probe->row;
	bool		in_doubt = TransactionIdIsValid(probe->writer);

	if (probe->found && unfinished_here(row))
		return VERDICT_IN_PROGRESS;

	/* W4: an expired row counts as absent. */
	if (!probe->found || row->expires_at <= now)
		return in_doubt ? VERDICT_IN_DOUBT : VERDICT_FREE;

	if (row->status == KEY_RELEASED || row->status == KEY_ISSUED)
		return in_doubt ? VERDICT_IN_DOUBT : VERDICT_RECLAIM;

	/* An erased key has no fingerprint to compare. */
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

/* A key that is not stored was not issued, or has expired since. */
static void
check_key_issued(const Claim *claim)
{
	if (claim->policy.require_issued)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_NOT_FOUND)),
				 errmsg("idempotency key \"%s\" was not issued",
						key_in_message(claim->key.name)),
				 errdetail("The policy of scope \"%s\" requires keys that issue() has returned and that have not expired.",
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

/* Set an outcome that does not change the key. */
static void
answer(Claim *claim, Outcome outcome, const Probe *probe)
{
	claim->outcome = outcome;
	answered_last = outcome != OUTCOME_EXPIRED;
	claim->row_known = probe != NULL && probe->found;
	if (claim->row_known)
		claim->row = probe->row;
	if (outcome == OUTCOME_REPLAY)
		keyrow_detach(&claim->row);
	count_outcome(claim);
}

static const Interval *
ttl_of_claim(const Claim *claim)
{
	return claim->ttl ? claim->ttl : &claim->policy.ttl;
}

static TimestampTz
expiry_of_claim(const Claim *claim)
{
	return time_after(claim->judged_at, ttl_of_claim(claim));
}

/*
 * Become the owner: fill in the row and write or defer it.  If the limit runs
 * out while the store waits for another transaction, the answer is
 * in_progress.  Returns false if the key must be probed again.
 */
static bool
take(Claim *claim, Store *store, Verdict verdict, const Probe *probe)
{
	TimestampTz now = claim->judged_at;
	TimestampTz expires_at = expiry_of_claim(claim);
	Interval   *ttl = claim->ttl;
	KeyRow		row = probe->found ? probe->row : (KeyRow) {0};

	/*
	 * A key that was issued with a ttl keeps it, unless the claim asks for
	 * another.
	 */
	if (verdict == VERDICT_RECLAIM && row.status == KEY_ISSUED &&
		ttl == NULL && row.ttl != NULL)
	{
		ttl = row.ttl;
		expires_at = time_after(now, ttl);
	}

	/*
	 * An earlier owner that has not ended its claim is recognized by a lower
	 * attempt as long as its row exists, expired or not.  Its recovery point
	 * and state are only for an owner that takes over.
	 */
	if (verdict == VERDICT_FREE && probe->found && row.status != KEY_IN_PROGRESS)
		row.attempt = 0;
	if (row.attempt == PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("idempotency key \"%s\" has no attempts left",
						key_in_message(claim->key.name)),
				 errdetail("A further attempt could not be distinguished from an earlier one."),
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
sent_too_early(const Claim *claim)
{
	return claim->first_sent != NO_TIME &&
		claim->first_sent < time_before(claim->judged_at, ttl_of_claim(claim));
}

static void
look_at_key(Claim *claim, Store *store, Look look, Probe *probe)
{
	claim->judged_at = GetCurrentTimestamp();
	store_refresh(store);
	switch (look)
	{
		case LOOK_UNLOCKED:
		case LOOK_LOCKED:
			store_probe(store, &claim->key, claim->judged_at, expiry_of_claim(claim), probe);
			break;
		case LOOK_BLIND:
			probe->found = false;
			probe->writer = InvalidTransactionId;
			break;
	}
}

/* Claim a key under which nothing is stored, or refuse the claim. */
static bool
take_free(Claim *claim, Store *store, Look look, const Probe *probe)
{
	bool		refused = claim->policy.require_issued || sent_too_early(claim);

	if (look == LOOK_BLIND && refused)
	{
		/*
		 * The claim is refused only if a read confirms that nothing is
		 * stored.
		 */
		bool		out_of_time = !store_touch(store, &claim->key, &claim->limit,
											   claim->policy.stats);

		if (out_of_time)
			answer(claim, OUTCOME_IN_PROGRESS, NULL);
		return out_of_time;
	}
	check_key_issued(claim);
	if (refused)
	{
		answer(claim, OUTCOME_EXPIRED, NULL);
		return true;
	}
	return take(claim, store, VERDICT_FREE, probe);
}

/*
 * Act upon the verdict as far as the look permits.  Returns whether the claim
 * is answered or made.
 */
static bool
act_upon(Claim *claim, Store *store, Look look, Verdict verdict, const Probe *probe)
{
	bool		locked = look >= LOOK_LOCKED;

	switch (verdict)
	{
		case VERDICT_MISMATCH:
			answer(claim, OUTCOME_MISMATCH, probe);
			return true;
		case VERDICT_REPLAY:
			answer(claim, OUTCOME_REPLAY, probe);
			return true;
		case VERDICT_IN_PROGRESS:
			answer(claim, OUTCOME_IN_PROGRESS, probe);
			return true;
		case VERDICT_IN_DOUBT:
			return false;
		case VERDICT_FREE:
			return locked && take_free(claim, store, look, probe);
		case VERDICT_RECOVER:
		case VERDICT_RECLAIM:
			return locked && take(claim, store, verdict, probe);
	}
	return false;
}

/*
 * Wait for the transaction that works on the key: the one that has written its
 * row or has deferred its claim, or, if none is known, for the lock.  All
 * waiters of a transaction wake up together.  Returns false if the time has
 * run out or too many sessions wait already.
 */
static bool
wait_for_key(Claim *claim, Store *store, Look *look, TransactionId writer)
{
	TransactionId owner;
	bool		in_time;

	*look = LOOK_UNLOCKED;
	store_close(store);
	if (!keylock_join_waiters(&claim->key))
		return false;
	owner = TransactionIdIsValid(writer) ? writer : deferred_owner(&claim->key);
	if (TransactionIdIsValid(owner))
		in_time = wait_for_transaction(owner, &claim->limit, claim->policy.stats);
	else
	{
		in_time = store_lock(store, &claim->key, &claim->limit, claim->policy.stats);
		if (in_time)
			*look = LOOK_LOCKED;
	}
	keylock_leave_waiters(&claim->key);
	return in_time;
}

/*
 * Choose the next look after one that was not enough, and take the lock for
 * it.  A look under the lock that ended in doubt has released it.  Returns
 * false if the time ran out first.
 */
static bool
look_closer(Claim *claim, Store *store, Look *look, Verdict verdict, const Probe *probe)
{
	bool		in_doubt = verdict == VERDICT_IN_DOUBT;

	/*
	 * If a write is refused, the row that refused it is read; if that row is
	 * gone by then, the write is repeated.
	 */
	if (store_writes_first(store))
	{
		*look = *look == LOOK_BLIND || probe->found ? LOOK_LOCKED : LOOK_BLIND;
		return true;
	}

	/* The unique index has refused the row: probe again. */
	if (*look == LOOK_LOCKED && !in_doubt)
		return true;
	if (!in_doubt && store_try_lock(store, &claim->key))
	{
		*look = LOOK_LOCKED;
		return true;
	}
	return wait_for_key(claim, store, look, in_doubt ? probe->writer : InvalidTransactionId);
}

void
claim_key(Claim *claim, Store *store)
{
	Look		look;

	check_request_given(claim);
	check_claims_admitted();
	if (store_writes_first(store))
		look = LOOK_BLIND;
	else
		look = !answered_last && store_try_lock(store, &claim->key) ?
			LOOK_LOCKED : LOOK_UNLOCKED;
	for (;;)
	{
		Probe		probe;
		Verdict		verdict;
		bool		done;

		CHECK_FOR_INTERRUPTS();
		look_at_key(claim, store, look, &probe);
		verdict = judge(&probe, claim->fingerprint, claim->judged_at);
		done = act_upon(claim, store, look, verdict, &probe);
		if (look >= LOOK_LOCKED && (done || verdict == VERDICT_IN_DOUBT) && !claim->deferred)
			store_unlock(store, &claim->key);
		if (done)
			return;
		if (!look_closer(claim, store, &look, verdict, &probe))
		{
			answer(claim, OUTCOME_IN_PROGRESS, NULL);
			return;
		}
	}
}
