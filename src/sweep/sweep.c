/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  sweep(): one round of expiry, in the caller's transaction.
 *
 * The stores do the work of a round: expire.c empties slots of the wheel and
 * deletes from keys_long, distributed_scan.c deletes from the table of the
 * distributed store.  The worker does the same in many transactions (worker.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "error.h"
#include "funcapi.h"
#include "guc.h"
#include "miscadmin.h"
#include "stats.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(idempotency_sweep);

/*
 * sweep(max_rows bigint, OUT slots_cleared integer, OUT rows_deleted bigint)
 *
 * One round of expiry, in the caller's transaction.  It should be a
 * transaction of its own, since the slots that were turned stay locked to its
 * end, and slots that it has used before are not turned.  The round never
 * waits; slots and keys that are in use are left for another round.  Without
 * max_rows, sweep_batch is the limit.  Raises IK400 if max_rows is negative.
 */
Datum
idempotency_sweep(PG_FUNCTION_ARGS)
{
	int64		max_rows = PG_ARGISNULL(0) ? sweep_batch : PG_GETARG_INT64(0);
	Expiry		expiry;
	TupleDesc	desc;
	Datum		values[2];
	bool		isnull[2] = {0};

	PreventCommandIfReadOnly("idempotency.sweep()");
	if (max_rows < 0)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("max_rows must not be negative"),
				 errdetail("The value given is %lld.", (long long) max_rows),
				 errhint("Give zero to turn the wheel only, or leave it out for idempotency.sweep_batch.")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	store_begin_expiry(&expiry, max_rows);
	while (store_expire(&expiry))
		CHECK_FOR_INTERRUPTS();
	stats_count_sweep(expiry.slots_cleared, expiry.rows_deleted, NULL);

	values[0] = Int32GetDatum(expiry.slots_cleared);
	values[1] = Int64GetDatum(expiry.rows_deleted);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
}
