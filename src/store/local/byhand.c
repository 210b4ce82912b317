/*-------------------------------------------------------------------------
 *
 * byhand.c
 *	  Triggers on changes that are not made by the library.
 *
 * Rows that arrive by COPY, by hand or by logical replication are accepted:
 * they get the hash of their key, and their slot an upper bound that is not
 * before their expiry (W1).  Changes that would lose keys are refused.
 *
 * A row is found by the hash of its scope and key, in the slot that its expiry
 * requires.  UPDATE would change neither hash nor slot: a row with a later
 * expiry would still be removed with its slot, and a row with another key
 * would never be found.  Without the rows of the wheel all slots would count
 * as past, and the keys in them as absent.
 *
 * The triggers that refuse fire only for statements on this server: changes that a
 * publisher sends were made there by the functions of the extension.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "objects.h"
#include "store/keyrow.h"
#include "store/local/first_use.h"
#include "store/local/wheel_table.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(idempotency_use_leaf);
PG_FUNCTION_INFO_V1(idempotency_raise_until);
PG_FUNCTION_INFO_V1(idempotency_refuse_change);

/*
 * Row trigger on the leaves, for rows that arrive by COPY, by hand or by
 * logical replication.  Their hash is computed: it may come from a machine of
 * another byte order.
 */
Datum
idempotency_use_leaf(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("use_leaf() must be called as a trigger before an insertion, for each row")));
	use_leaf(trigger->tg_relation);
	return PointerGetDatum(keyrow_with_hash(trigger->tg_trigtuple,
											RelationGetDescr(trigger->tg_relation)));
}

/* Find the latest expiry of each slot's rows in a transition table. */
static void
latest_expiries(TriggerData *trigger, TimestampTz *latest)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	TupleTableSlot *row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	for (int slot = 0; slot < WHEEL_SLOTS; slot++)
		latest[slot] = DT_NOBEGIN;
	keyrow_check_columns(desc);
	tuplestore_select_read_pointer(trigger->tg_newtable, 0);
	tuplestore_rescan(trigger->tg_newtable);
	while (tuplestore_gettupleslot(trigger->tg_newtable, true, false, row))
	{
		int			slot = keyrow_slot(row);

		CHECK_FOR_INTERRUPTS();
		if (slot >= 0 && slot < WHEEL_SLOTS)
			latest[slot] = Max(latest[slot], keyrow_expires_at(row));
	}
	ExecDropSingleTupleTableSlot(row);
}

/*
 * Statement trigger on the tables that hold keys, for rows that arrive by COPY or
 * by hand.  The lock keeps out a turn, so that no slot is emptied between reading
 * its upper bound and raising it.
 */
Datum
idempotency_raise_until(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TimestampTz latest[WHEEL_SLOTS];
	Relation	relation;
	Wheel		wheel;

	if (!CALLED_AS_TRIGGER(fcinfo) || trigger->tg_newtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("raise_until() must be called as a trigger after an insertion, with a transition table")));
	latest_expiries(trigger, latest);
	relation = wheel_table_open(RowExclusiveLock);
	wheel_table_read(&wheel, true);
	for (int slot = 0; slot < WHEEL_SLOTS; slot++)
	{
		if (latest[slot] > wheel.until[slot])
		{
			wheel_table_insert(relation, slot, latest[slot]);
			CacheInvalidateRelcache(relation);
		}
	}
	CommandCounterIncrement();
	table_close(relation, NoLock);
	return PointerGetDatum(NULL);
}

Datum
idempotency_refuse_change(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("refuse_change() must be called as a trigger")));
	if (RelationGetRelid(trigger->tg_relation) == objects()->wheel)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("rows of table \"wheel\" can't be removed by hand"),
				 errdetail("The keys of their slots would count as absent, and their requests could run again."),
				 errhint("Call idempotency.sweep() to turn slots whose keys have expired, or idempotency.empty_wheel() on a server that will subscribe to another.")));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("columns scope, key, expires_at, slot and hash of idempotency keys can't be changed by hand"),
			 errdetail("A key is found by its hash, in the slot that its expiry requires."),
			 errhint("Call idempotency.retain() to remember a key for another time, or idempotency.forget() to remove it.")));
}
