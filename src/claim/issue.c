/*-------------------------------------------------------------------------
 *
 * issue.c
 *	  Keys that the server issues.
 *
 * An issued key has two rows:
 *
 *		the key			under its scope, with status issued: a client claims it
 *		its record		under a reserved scope, with the subject as its key and
 *						the issued key as its resource_id: the next caller
 *						finds the subject's key in it
 *
 * The record is made with claim and complete, which settle the races:
 *
 *		- A and B ask for the key of a subject at the same time.  One claims
 *		  the record.  The other waits for the end of its transaction and
 *		  replays the key, or, if it was rolled back, issues one.
 *		- A crash leaves both rows or none.
 *
 * The key's row decides whether a subject still has its key.  Claiming and
 * completing the key extend its life beyond the ttl of issue(), forget() and
 * purge() end it earlier, and a second key while the first is stored would let
 * the same cart be paid twice.  So the record outlasts the key, and if the
 * record is replayed, the key's row is looked up.  If the key no longer exists,
 * the record is released and claimed again.  If two transactions find that, one
 * releases the record; the other waits for its end, finds a higher attempt, and
 * replays the new key.
 *
 * The record is kept for three times the ttl: the key is claimed within the
 * first, the work is done within the second, and the result is stored for the
 * third.  A claim of an issued key that asks for no ttl has that of the key
 * (claim_key.c), or, after a release, that of the policy; the longer of the two is
 * used.  So the record expires before the key only if a claim or a completion
 * asks for a longer ttl, or the work takes longer than one ttl.  Updating the
 * record at each claim and completion was ruled out: issue() would then wait
 * for the work on the key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "claim/claim.h"
#include "compat.h"
#include "claim/complete.h"
#include "claim/durable_replay.h"
#include "error.h"
#include "store/hold.h"
#include "claim/lookup.h"
#include "miscadmin.h"
#include "interval.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(idempotency_issue);

#define RECORD_TTLS		3.0

/* A subject is stored as a key, and may be as long as the longest key. */
#define MAX_SUBJECT_LENGTH	8192

/* The arguments of issue(). */
typedef struct Request
{
	text	   *scope;
	text	   *subject;
	Interval   *ttl;			/* NULL: as the policy says */
	Policy		policy;
	IdempotencyKey record;
} Request;

/* A UUID of version 7: the time in milliseconds, then random bits. */
static text *
new_name(void)
{
	uint64		milliseconds = (GetCurrentTimestamp() +
								(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) / 1000;
	pg_uuid_t	uuid;

	if (!pg_strong_random(uuid.data, UUID_LEN))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	milliseconds = pg_hton64(milliseconds << 16);
	memcpy(uuid.data, &milliseconds, 6);
	uuid.data[6] = (uuid.data[6] & 0x0f) | 0x70;
	uuid.data[8] = (uuid.data[8] & 0x3f) | 0x80;
	return cstring_to_text(DatumGetCString(DirectFunctionCall1(uuid_out,
															   UUIDPGetDatum(&uuid))));
}

/* Store a new key as issued, and return it. */
static text *
issue_key(const Request *request)
{
	IdempotencyKey key;
	Store		store;
	HeldKey		held;
	KeyRow		row = {.status = KEY_ISSUED};

	make_key(&key, new_name(), request->scope);
	check_new_key_length(&key, request->policy.min_key_length);
	store_open(&store);
	hold_key(&held, &key, &store);
	row.status_code = NO_STATUS_CODE;
	row.ttl = request->ttl;
	row.lease_until = NO_TIME;
	row.claimed_at = NO_TIME;
	row.completed_at = NO_TIME;
	row.expires_at = time_after(held.now, request->ttl ? request->ttl : &request->policy.ttl);
	if (held.found)
		elog(ERROR, "new idempotency key is in use");
	held.row = row;
	write_held_key(&held);
	store_close(&store);
	return key.name;
}

/* How long the record is kept. */
static Interval *
record_ttl(const Request *request)
{
	const Interval *ttl = &request->policy.ttl;

	if (request->ttl != NULL &&
		DatumGetBool(DirectFunctionCall2(interval_gt,
										 IntervalPGetDatum(request->ttl),
										 IntervalPGetDatum(ttl))))
		ttl = request->ttl;
	return DatumGetIntervalP(DirectFunctionCall2(interval_mul,
												 IntervalPGetDatum(ttl),
												 Float8GetDatum(RECORD_TTLS)));
}

/* Whether the key in the record is still stored. */
static bool
key_is_live(const Request *request, text *name)
{
	IdempotencyKey key;
	KeyRow		row;

	make_key(&key, name, request->scope);
	return lookup_key(&key, &row);
}

static void
record_is_busy(const Request *request)
{
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_CONFLICT)),
			 errmsg("another transaction is issuing the key of \"%s\"",
					key_in_message(request->subject)),
			 errdetail("It has not ended within the time that the policy lets a claim wait."),
			 errhint("Call issue() again. Commit soon after a key was issued, or raise idempotency.default_wait.")));
}

/* The subject's key; a new one if it has none. */
static text *
key_of_subject(const Request *request)
{
	Claim		claim;
	Completion	completion = {.status = KEY_COMPLETED};
	Store		store;
	text	   *name;

	store_open(&store);
	memset(&claim, 0, sizeof(claim));
	claim.key = request->record;
	claim.ttl = record_ttl(request);
	claim.first_sent = NO_TIME;
	claim.policy = request->policy;
	/* The rules of the policy are for keys, not for their records. */
	claim.policy.require_request = false;
	claim.policy.require_issued = false;
	wait_at_most(&claim.limit, &request->policy.wait);

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		claim_key(&claim, &store);
		if (claim.outcome != OUTCOME_REPLAY)
			break;
		name = claim.row.resource_id;
		if (name != NULL)
		{
			name = DatumGetTextPP(PointerGetDatum(name));
			if (key_is_live(request, name))
			{
				store_close(&store);

				/*
				 * Another device relies on a key that a failover must not
				 * lose.
				 */
				if (!replay_is_durable(&claim.row))
					wait_for_standbys();
				return name;
			}
		}
		if (!reopen_key(&request->record, claim.row.attempt, &store, &claim.limit))
			record_is_busy(request);
	}

	if (claim.outcome == OUTCOME_IN_PROGRESS)
		record_is_busy(request);
	if (claim.outcome != OUTCOME_NEW)
		elog(ERROR, "unexpected outcome of claiming the record of an issued key: %d",
			 (int) claim.outcome);

	name = issue_key(request);
	completion.resource_id = name;
	completion.attempt = claim.row.attempt;
	complete_key(&request->record, &completion, &store);
	store_close(&store);
	return name;
}

/* The scope under which the record of a subject of this scope is stored. */
static text *
record_scope(const text *scope)
{
	Size		prefix = strlen(RESERVED_SCOPE);
	Size		length = VARSIZE_ANY_EXHDR(scope);
	text	   *result = palloc(VARHDRSZ + prefix + length);

	SET_VARSIZE(result, VARHDRSZ + prefix + length);
	memcpy(VARDATA(result), RESERVED_SCOPE, prefix);
	memcpy(VARDATA(result) + prefix, VARDATA_ANY(scope), length);
	return result;
}

static void
check_arguments(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("scope of the idempotency key must not be null"),
				 errhint("Pass the scope that the key will be claimed in.")));
	if (PG_ARGISNULL(1) || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(1)) == 0)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 PG_ARGISNULL(1) ?
				 errmsg("subject must not be null") :
				 errmsg("subject must not be empty"),
				 errhint("Pass the id of what the key is for, such as a cart or payment intent.")));
	if (VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(1)) > MAX_SUBJECT_LENGTH)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("subject is too long"),
				 errdetail("It has %d bytes; the maximum is %d.",
						   (int) VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(1)), MAX_SUBJECT_LENGTH),
				 errhint("Pass the id of what the key is for, not its content.")));
	check_scope_not_reserved(PG_GETARG_TEXT_PP(0));
	check_scope(PG_GETARG_TEXT_PP(0));
}

/*
 * issue(scope text, subject text, ttl interval) returns text
 *
 * The key of the subject: the one that was issued before if it is still
 * stored, otherwise a new one.  Raises IK400 for bad arguments, and IK409 if
 * another transaction that issues the key does not end in time.
 */
Datum
idempotency_issue(PG_FUNCTION_ARGS)
{
	Request		request;

	PreventCommandIfReadOnly("idempotency.issue()");
	check_arguments(fcinfo);
	request.scope = PG_GETARG_TEXT_PP(0);
	request.subject = PG_GETARG_TEXT_PP(1);
	request.ttl = interval_from_arg(fcinfo, 2, "ttl");
	policy_of_scope(&request.policy, request.scope);
	make_key(&request.record, request.subject, record_scope(request.scope));
	PG_RETURN_TEXT_P(key_of_subject(&request));
}
