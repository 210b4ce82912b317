/*-------------------------------------------------------------------------
 *
 * byhand.c
 *	  Triggers that refuse changes by hand which would lose keys.
 *
 * A row is found by the hash of its scope and key, in the slot that its expiry
 * requires.  UPDATE would change neither hash nor slot: a row with a later
 * expiry would still be removed with its slot, and a row with another key
 * would never be found.  Without the rows of the wheel all slots would count
 * as past, and the keys in them as absent.
 *
 * The triggers fire only for statements on this server: changes that a
 * publisher sends were made there by the functions of the extension.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "objects.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(idempotency_refuse_change);

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
				 errhint("Call idempotency.sweep() to turn slots whose keys have expired, or idempotency.empty_wheel() on a server that is to subscribe to another.")));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("columns scope, key, expires_at, slot and hash of idempotency keys can't be changed by hand"),
			 errdetail("A key is found by its hash, in the slot that its expiry requires."),
			 errhint("Call idempotency.retain() to remember a key for another time, or idempotency.forget() to remove it.")));
}
