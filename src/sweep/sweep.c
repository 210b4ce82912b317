/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  One round of expiry.
 *
 * First the slots of the wheel whose upper bound is past are emptied and
 * turned, then expired rows are deleted from keys_long and from slots laid too
 * far ahead.  Expired rows in any other slot stay: they count as absent (W4),
 * and are removed with their slot.  Empty slots that are not at a tick of the
 * present length are laid last, since claims may wait for the end of that
 * transaction.
 *
 * A row is deleted under its key's lock.  The sweep does not wait for the
 * lock: its holder is working on the key.  A concurrent claim of the key finds
 * a row that another transaction is deleting, and waits for the end of that
 * transaction.  The worker therefore deletes few rows in one transaction.
 *
 * Two concurrent rounds do no harm: one of them turns the wheel (turn.c), and
 * the first to lock a key deletes its row.
 *
 * In the tables of the extension the work is done as their owner, whichever
 * role calls sweep(), in a security-restricted operation.  If foreign code
 * runs here after all, for instance as part of an index, it has only the
 * privileges of the tables' owner, who created that index.  In the table of
 * the distributed store the work is done as the caller (statement.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "store/distributed/distributed_scan.h"
#include "error.h"
#include "funcapi.h"
#include "guc.h"
#include "store/keylock.h"
#include "store/local/lay.h"
#include "store/local/tick.h"
#include "store/local/turn.h"
#include "miscadmin.h"
#include "stats.h"
#include "sweep/sweep.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(idempotency_sweep);

/* Rows that are deleted in one step. */
#define ROWS_IN_A_STEP	500

/* The same for each shard of the distributed store, in its own transaction. */
#define ROWS_OF_A_SHARD	2000

void
sweep_begin(Sweep *sweep, int64 max_rows)
{
	memset(sweep, 0, sizeof(*sweep));
	sweep->turns_left = 2 * WHEEL_SLOTS;
	sweep->rows_left = max_rows;
	sweep->pages_of_leaf = Min(Max(sweep_batch, max_rows), MaxBlockNumber);
}

/*
 * Begin with the rows of the next leaf that the wheel does not empty in time:
 * first the slots that are laid too far ahead, last keys_long.  Returns false
 * if there is no such leaf left.
 */
static bool
next_leaf(Sweep *sweep)
{
	Wheel		wheel;

	wheel_read(&wheel);
	while (sweep->next_leaf < LEAVES)
	{
		int			leaf = sweep->next_leaf++;

		if (leaf == LEAF_LONG ||
			(!wheel.unused[leaf] &&
			 slot_reaches_too_far(&wheel, leaf, GetCurrentTimestamp())))
		{
			LongWalk	walk = {.leaf = leaf,.pages_left = sweep->pages_of_leaf};

			sweep->walk = walk;
			return true;
		}
	}
	return false;
}

/* Returns whether a slot was turned. */
static bool
turn_slot(Sweep *sweep)
{
	int			turned;

	if (sweep->turns_left == 0)
		return false;
	turned = wheel_turn(1, &sweep->slots_cleared);
	sweep->turns_left -= turned;
	return turned > 0;
}

/* Returns whether a slot was laid. */
static bool
lay_slot(Sweep *sweep)
{
	int			laid;

	if (sweep->turns_left == 0)
		return false;
	laid = wheel_lay(1);
	sweep->turns_left -= laid;
	return laid > 0;
}

/* Returns whether there is more to read. */
static bool
delete_rows(Sweep *sweep)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		most = Min(sweep->rows_left, ROWS_IN_A_STEP);
	int64		deleted = 0;
	MemoryContext caller;
	MemoryContext context;
	IdempotencyKey key;

	if (sweep->rows_left == 0)
		return false;
	while (!store_walk_resume(&sweep->walk))
	{
		if (!next_leaf(sweep))
			return false;
	}
	context = AllocSetContextCreate(CurrentMemoryContext, "expired idempotency keys",
									ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	while (deleted < most && store_walk_next(&sweep->walk, now, &key))
	{
		if (!keylock_try(&key))
			continue;
		if (store_walk_delete(&sweep->walk))
			deleted++;
		keylock_release(&key);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	store_walk_pause(&sweep->walk);
	sweep->rows_deleted += deleted;
	sweep->rows_left -= deleted;
	return sweep->rows_left > 0;
}

/* The same for the distributed store, if there is one. */
static bool
delete_distributed_rows(Sweep *sweep)
{
	int64		deleted = 0;

	if (sweep->rows_left == 0 || sweep->distributed_done ||
		!OidIsValid(objects()->distributed_keys))
		return false;
	sweep->distributed_done = !distributed_delete_expired(GetCurrentTimestamp(),
														  Min(sweep->rows_left, ROWS_OF_A_SHARD),
														  &deleted);
	sweep->rows_deleted += deleted;
	sweep->rows_left -= Min(deleted, sweep->rows_left);
	return !sweep->distributed_done;
}

bool
sweep_step(Sweep *sweep)
{
	Oid			caller;
	int			context;
	bool		more;

	GetUserIdAndSecContext(&caller, &context);
	SetUserIdAndSecContext(objects()->owner, context | SECURITY_RESTRICTED_OPERATION);
	more = turn_slot(sweep) || delete_rows(sweep) || lay_slot(sweep);
	SetUserIdAndSecContext(caller, context);
	return more || delete_distributed_rows(sweep);
}

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
	Sweep		sweep;
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

	sweep_begin(&sweep, max_rows);
	while (sweep_step(&sweep))
		CHECK_FOR_INTERRUPTS();
	stats_count_sweep(sweep.slots_cleared, sweep.rows_deleted, NULL);

	values[0] = Int32GetDatum(sweep.slots_cleared);
	values[1] = Int64GetDatum(sweep.rows_deleted);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
}
