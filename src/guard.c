/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  Trigger function guard(): claim a key before a row goes in, complete it
 *	  after.
 *
 *		BEFORE INSERT	claim the row's key, with the row as the request.  New
 *						or recovered: the row goes in.  Otherwise it is skipped
 *						or an error is raised: claim_row() has the table.
 *		AFTER INSERT	complete the key with the primary key and the row.
 *		BEFORE DELETE	on partitions: remember the row, it may be moving.
 *
 * What can come between the first two is in guard_keys.c; rows that move to
 * another partition go in unclaimed, guard_move.c knows them.
 *
 * Two sessions insert rows with one key, A first:
 *
 *		- A has claimed and not ended: B's BEFORE trigger waits in claim_key(),
 *		  as long as the policy says.  A commits: B's row is a duplicate, at
 *		  every isolation level.  A rolls back, also to a savepoint: B's row
 *		  goes in.  The wait runs out: B has an error, because A's row may
 *		  still vanish.
 *		- A is B, that is, an earlier row of the same transaction: it can't
 *		  vanish without the later one but by a savepoint between the two
 *		  statements, and then the claim is gone and the later row is new.  So
 *		  the later row is a duplicate.  claim_key() compares nothing with an
 *		  unfinished claim of its own transaction; that is done here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "claim.h"
#include "commands/trigger.h"
#include "compat.h"
#include "complete.h"
#include "error.h"
#include "fingerprint.h"
#include "guard_keys.h"
#include "guard_move.h"
#include "guarded.h"
#include "rowjson.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(idempotency_guard);

/* A trigger as prepared for one statement; in flinfo->fn_extra. */
typedef struct Guard
{
	GuardedTable table;
	bool		raises;			/* what to do with a duplicate */
	ColumnText *key;
	RowJson    *request;
	RowJson    *row;
	ColumnText *single_id;		/* of a primary key of one column */
	RowJson    *composite_id;	/* or of several */
	DeletedRow	deleted;
} Guard;

/* ----------------------------------------------------------------
 *		Duplicates and other obstacles
 * ----------------------------------------------------------------
 */

/* What clients read in the detail of IK409; row may be NULL. */
static char *
outcome_as_json(const char *outcome, const KeyRow *row)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"outcome\": \"%s\", \"resource_id\": ", outcome);
	if (row != NULL && row->resource_id != NULL)
		escape_json(&json, text_to_cstring(DatumGetTextPP(PointerGetDatum(row->resource_id))));
	else
		appendStringInfoString(&json, "null");
	appendStringInfoString(&json, ", \"response\": ");
	if (row != NULL && row->response != NULL)
	{
		Jsonb	   *response = DatumGetJsonbP(PointerGetDatum(row->response));

		appendStringInfoString(&json, JsonbToCString(NULL, &response->root, VARSIZE(response)));
	}
	else
		appendStringInfoString(&json, "null");
	appendStringInfoChar(&json, '}');
	return json.data;
}

static void
duplicate_row(const IdempotencyKey *key, const char *outcome, const KeyRow *row,
			  const char *hint)
{
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_CONFLICT)),
			 errmsg("the row with idempotency key \"%s\" was inserted before",
					text_to_cstring(key->name)),
			 errdetail_internal("%s", outcome_as_json(outcome, row)),
			 errhint("%s", hint)));
}

static void
other_row(const IdempotencyKey *key)
{
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_UNPROCESSABLE)),
			 errmsg("idempotency key \"%s\" was used for another row",
					text_to_cstring(key->name)),
			 errdetail("Rows with the same key must agree in all columns but the primary key and those with a default, an identity or a generation expression."),
			 errhint("Use a new key for a new row.")));
}

static void
busy_key(const IdempotencyKey *key, const char *hint)
{
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_CONFLICT)),
			 errmsg("idempotency key \"%s\" is in progress",
					text_to_cstring(key->name)),
			 errdetail_internal("%s", outcome_as_json("in_progress", NULL)),
			 errhint("%s", hint)));
}

/* ----------------------------------------------------------------
 *		The triggers
 * ----------------------------------------------------------------
 */

/* The row's key, or NULL where it is not guarded. */
static text *
name_in_row(const Guard *guard, const TriggerData *trigger)
{
	return column_text(guard->key, trigger->tg_trigtuple,
					   RelationGetDescr(trigger->tg_relation));
}

/*
 * BEFORE INSERT: claim the key.  Returns whether the row goes in.
 *
 *		outcome						skip			raise
 *		new, recovered				goes in			goes in
 *		replay						skipped			IK409
 *		in progress: an earlier row
 *		  of this transaction		skipped			IK409
 *		in progress otherwise		IK409			IK409
 *		mismatch					IK422			IK422
 *
 * To skip a row whose key is in progress elsewhere would lose it: that work
 * may still fail.  The outcome "expired" needs a first_sent, which rows don't
 * have.
 */
static bool
claim_row(Guard *guard, const TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	bool		in_partition = trigger->tg_relation->rd_rel->relispartition;
	text	   *name = name_in_row(guard, trigger);
	Claim		claim;
	Store		store;
	GuardedKey *entry;

	if (name == NULL)
		return true;
	claim_init(&claim, name, guard->table.scope);
	if (in_partition && was_just_deleted(&claim.key))
	{
		remember_move(&claim.key);
		return true;
	}

	claim_request(&claim, row_json(guard->request, trigger->tg_trigtuple, desc));
	store_open(&store);
	claim_key(&claim, &store);
	store_close(&store);

	if (claim.outcome == OUTCOME_NEW || claim.outcome == OUTCOME_RECOVERED)
	{
		remember_claim(&claim.key, claim.row.claimed_at);
		return true;
	}
	if (in_partition && has_left_other_partition(trigger, guard->table.root, &claim.key))
	{
		remember_move(&claim.key);
		return true;
	}

	switch (claim.outcome)
	{
		case OUTCOME_REPLAY:
			if (guard->raises)
				duplicate_row(&claim.key, "replay", &claim.row,
							  "The detail has the result of the first insertion: answer with that.");
			return false;
		case OUTCOME_MISMATCH:
			other_row(&claim.key);
			break;
		case OUTCOME_IN_PROGRESS:
			if (!claim.row_known || !claim.row.own)
				busy_key(&claim.key, "Its owner has not ended: retry later.");
			entry = find_guarded_key(&claim.key);
			if (entry == NULL || !entry->claimed ||
				entry->claimed_at != claim.row.claimed_at)
				busy_key(&claim.key, "This transaction has claimed the key by other means than the guard: leave that to the guard, or claim in another scope.");
			if (fingerprints_differ(claim.row.fingerprint, claim.fingerprint))
				other_row(&claim.key);
			if (guard->raises)
				duplicate_row(&claim.key, "in_progress", NULL,
							  "The first row is one of this transaction, and has no result yet: insert each key once.");
			return false;
		default:
			elog(ERROR, "unexpected outcome of a guarded claim: %d", (int) claim.outcome);
	}
	return false;
}

/*
 * AFTER INSERT: complete the key.  The resource id is the text of the primary
 * key, or, where that has several columns, a JSON object of them.
 */
static void
complete_row(Guard *guard, const TriggerData *trigger)
{
	HeapTuple	tuple = trigger->tg_trigtuple;
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	IdempotencyKey key;
	text	   *name = name_in_row(guard, trigger);
	Completion	completion = {.status = KEY_COMPLETED};
	Store		store;
	GuardedKey *entry;

	if (name == NULL)
		return;
	make_key(&key, name, guard->table.scope);
	entry = find_guarded_key(&key);
	if (entry == NULL)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_NOT_FOUND)),
				 errmsg("idempotency key \"%s\" of a row of table \"%s\" was not claimed",
						text_to_cstring(key.name),
						RelationGetRelationName(trigger->tg_relation)),
				 errdetail("A BEFORE INSERT trigger with the same key column and scope claims it; either there is none that fired for this row, or a BEFORE trigger after it in the order of names changed the key."),
				 errhint("Make both triggers with idempotency.guard_table().")));

	if (entry->moving)
	{
		forget_move(entry);
		return;
	}
	if (guard->single_id != NULL)
		completion.resource_id = column_text(guard->single_id, tuple, desc);
	else
	{
		Jsonb	   *id = row_json(guard->composite_id, tuple, desc);

		completion.resource_id = cstring_to_text(JsonbToCString(NULL, &id->root, VARSIZE(id)));
	}
	completion.response = row_json(guard->row, tuple, desc);
	store_open(&store);
	complete_key(&key, &completion, &store);
	store_close(&store);
	forget_guarded_key(entry);
}

/* BEFORE DELETE: remember the key, for the row may be about to move. */
static void
remember_deletion(Guard *guard, const TriggerData *trigger)
{
	text	   *name = name_in_row(guard, trigger);
	IdempotencyKey key;

	guard->deleted.has_key = name != NULL;
	if (name != NULL)
	{
		make_key(&key, name, guard->table.scope);
		guard->deleted.hash = key.hash;
	}
}

static void
wrong_trigger(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("function \"idempotency.guard\" can't be called this way"),
			 errdetail_internal("%s", detail),
			 errhint("Make the triggers with idempotency.guard_table().")));
}

static void
check_trigger(const TriggerData *trigger)
{
	TriggerEvent event = trigger->tg_event;
	int			nargs = trigger->tg_trigger->tgnargs;

	if (!TRIGGER_FIRED_FOR_ROW(event))
		wrong_trigger("It is the function of a statement trigger, and must be that of a row trigger.");
	if (TRIGGER_FIRED_INSTEAD(event))
		wrong_trigger("It is the function of an INSTEAD OF trigger; guard the table under the view.");
	if (TRIGGER_FIRED_BY_DELETE(event) &&
		(!TRIGGER_FIRED_BEFORE(event) || !trigger->tg_relation->rd_rel->relispartition))
		wrong_trigger("For DELETE it is only used by BEFORE triggers of partitioned tables.");
	if (!TRIGGER_FIRED_BY_INSERT(event) && !TRIGGER_FIRED_BY_DELETE(event))
		wrong_trigger("It is the function of a trigger for UPDATE, and must be that of a trigger for INSERT.");
	if (nargs < 1 || nargs > 3)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("trigger \"%s\" must have one to three arguments",
						trigger->tg_trigger->tgname),
				 errdetail("It has %d.", nargs),
				 errhint("The arguments of idempotency.guard() are the key column, the scope, and \"skip\" or \"raise\".")));
}

static Guard *
prepare_guard(const TriggerData *trigger, MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	char	  **args = trigger->tg_trigger->tgargs;
	int			nargs = trigger->tg_trigger->tgnargs;
	Guard	   *guard = palloc0(sizeof(Guard));

	describe_guarded(&guard->table, trigger->tg_relation, args[0],
					 nargs > 1 ? args[1] : NULL);
	guard->raises = nargs > 2 && mode_raises(args[2]);
	guard->key = column_text_for(desc, guard->table.key_column, context);

	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		watch_deletions(&guard->deleted, context);
	else if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
		guard->request = row_json_for(desc, guard->table.request, context);
	else
	{
		int			column;

		guard->row = row_json_for(desc, guard->table.row, context);
		if (bms_get_singleton_member(guard->table.primary_key, &column))
			guard->single_id = column_text_for(desc, column, context);
		else
			guard->composite_id = row_json_for(desc, guard->table.primary_key, context);
	}
	MemoryContextSwitchTo(caller);
	return guard;
}

/*
 * guard(key_column [, scope [, mode]]): function of row triggers
 *
 * BEFORE INSERT claims the key in the named column, AFTER INSERT completes it.
 * The default scope is the schema-qualified name of the table or of the root
 * of its partitions.  A row whose key is NULL passes.  The trigger should be
 * the last BEFORE trigger, so that it sees the row as it goes in.
 */
Datum
idempotency_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Guard	   *guard = fcinfo->flinfo->fn_extra;

	if (!CALLED_AS_TRIGGER(fcinfo))
		wrong_trigger("It was not called as a trigger.");
	if (guard == NULL)
	{
		check_trigger(trigger);
		guard = prepare_guard(trigger, fcinfo->flinfo->fn_mcxt);
		fcinfo->flinfo->fn_extra = guard;
	}

	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		remember_deletion(guard, trigger);
	else if (TRIGGER_FIRED_AFTER(trigger->tg_event))
		complete_row(guard, trigger);
	else if (!claim_row(guard, trigger))
		PG_RETURN_POINTER(NULL);
	PG_RETURN_POINTER(trigger->tg_trigtuple);
}
