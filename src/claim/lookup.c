/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  Reading the row of a key without waiting.
 *
 * The key is not locked, so a probe may miss a row that is being moved to
 * another leaf: it may read one leaf before the row is committed there, and
 * the other after the row was deleted there.  That takes a commit between two
 * reads of one probe, and the next probe finds the row; so a key counts as
 * absent only if two successive probes have found nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "claim/lookup.h"
#include "miscadmin.h"
#include "key/policy.h"
#include "store/store.h"
#include "storage/procarray.h"
#include "interval.h"

PG_FUNCTION_INFO_V1(idempotency_lookup);

bool
lookup_key(const IdempotencyKey *key, KeyRow *row)
{
	Policy		policy;
	int			absent = 0;

	policy_of_scope(&policy, key->scope);
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		Store		store;
		Probe		probe;
		bool		found;

		CHECK_FOR_INTERRUPTS();
		store_open(&store);
		store_refresh(&store);
		store_probe(&store, key, now, time_after(now, &policy.ttl), &probe);
		found = probe.found && probe.row.expires_at > now;
		if (found)
		{
			keyrow_detach(&probe.row);
			*row = probe.row;
		}
		store_close(&store);

		if (found)
			return true;
		if (!TransactionIdIsValid(probe.writer))
			absent++;
		else if (TransactionIdIsInProgress(probe.writer))
			return false;
		if (absent == 2)
			return false;
	}
}

/*
 * lookup(key text, scope text) returns setof keys
 *
 * The key's row; no row if nothing is stored or the key has expired.
 */
Datum
idempotency_lookup(PG_FUNCTION_ARGS)
{
	FuncCallContext *context;

	if (SRF_IS_FIRSTCALL())
	{
		IdempotencyKey key;
		KeyRow		row;
		MemoryContext caller;

		context = SRF_FIRSTCALL_INIT();
		caller = MemoryContextSwitchTo(context->multi_call_memory_ctx);
		make_key(&key, text_from_arg(fcinfo, 0), text_from_arg(fcinfo, 1));
		check_known_key_length(&key);
		if (lookup_key(&key, &row))
			context->user_fctx = DatumGetPointer(keyrow_datum(&key, &row));
		MemoryContextSwitchTo(caller);
	}

	context = SRF_PERCALL_SETUP();
	if (context->call_cntr == 0 && context->user_fctx != NULL)
		SRF_RETURN_NEXT(context, PointerGetDatum(context->user_fctx));
	SRF_RETURN_DONE(context);
}
