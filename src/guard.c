/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  Trigger function guard(): claim a key before a row goes in, complete it
 *	  after.
 *
 * Before the insertion the row's key is claimed with the row as the request.
 * New or recovered: the row goes in.  Otherwise the row is skipped or an error
 * is raised; claim_row() has the table.  After the insertion the key is
 * completed with the primary key and the row.
 *
 * AFTER triggers fire when the statement ends, so the keys of many rows may be
 * in progress at once, and something may come between a claim and its
 * completion.  The keys that the guard has claimed in this transaction and not
 * completed are therefore kept in a table of the backend, one entry for each:
 *
 *		- Two rows of one statement have the same key (INSERT of many rows,
 *		  COPY): the second row's claim is answered "in progress" by our own
 *		  transaction.  The entry says that the claim is the guard's, so the
 *		  second row is a duplicate: the fingerprints are compared here,
 *		  because claim_key() compares nothing with an unfinished claim.
 *		- The application has called claim() for the same scope and key in this
 *		  transaction: there is no entry.  To skip the row would lose it, to
 *		  let it in would complete somebody else's claim, so that is an error.
 *		- The claim is made and the row does not go in: ON CONFLICT DO NOTHING
 *		  met a conflict, DO UPDATE changed another row in its place, or
 *		  a later BEFORE trigger dropped it.  No AFTER INSERT trigger fires.
 *		  The statement has run all the same, and a retry of DO UPDATE would
 *		  update twice, so the key must not become free again.  What is left
 *		  when the transaction is about to commit is completed without a
 *		  resource and without a response: a retry is a duplicate.
 *		- A savepoint is rolled back between the two: the claim is gone, and
 *		  the entry with nothing behind it does no harm, because the time of
 *		  the claim is compared before an entry is believed.
 *
 * An UPDATE that moves a row to another partition deletes it in one and
 * inserts it in the other, and the BEFORE INSERT trigger fires there.  The key
 * is stored, so the row looks like a duplicate, but to skip it would lose it.
 * Such a row goes in, and nothing is claimed or completed.  It is known by:
 *
 *		- a BEFORE DELETE trigger of this function, which guard_table() makes
 *		  on partitioned tables.  The executor fires it for the row that moves
 *		  and deletes and inserts that row next.  So what it remembers is one
 *		  key for each statement that deletes, and it forgets it with the
 *		  statement;
 *		- without that trigger, the deleted version: it bears the mark of a row
 *		  that moved and was deleted by the present command.  Finding it means
 *		  reading the partitions that the transaction writes to, for each
 *		  duplicate.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "claim.h"
#include "commands/trigger.h"
#include "compat.h"
#include "complete.h"
#include "error.h"
#include "fingerprint.h"
#include "guarded.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "rowjson.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

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

	/* BEFORE DELETE: the key of the row deleted last, if has_deleted. */
	bool		has_deleted;
	pg_uuid_t	deleted;
	dlist_node	statement;
} Guard;

/* A key between the guard's two triggers. */
typedef struct GuardedKey
{
	pg_uuid_t	hash;			/* hash key, must be first */
	bool		claimed;
	bool		moving;			/* the row comes from another partition */
	text	   *scope;			/* these are set where claimed */
	text	   *name;
	TimestampTz claimed_at;
} GuardedKey;

/* The keys of the current transaction; NULL where there are none. */
static HTAB *guarded_keys = NULL;
static MemoryContext guarded_texts;

/* The statements now running that delete from guarded partitions. */
static dlist_head deleting_statements = DLIST_STATIC_INIT(deleting_statements);

/* ----------------------------------------------------------------
 *		Keys between the two triggers
 * ----------------------------------------------------------------
 */

/* Whether the claim that the entry speaks of is still there, unfinished. */
static bool
still_in_progress(const GuardedKey *entry, const IdempotencyKey *key)
{
	TimestampTz now = GetCurrentTimestamp();
	Store		store;
	Probe		probe;

	store_open(&store);
	store_refresh(&store);
	store_probe(&store, key, now, now, &probe);
	store_close(&store);
	return probe.found && probe.row.own &&
		probe.row.status == KEY_IN_PROGRESS &&
		probe.row.claimed_at == entry->claimed_at;
}

/* Complete the keys whose rows did not go in, with no result. */
static void
complete_rowless_keys(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "idempotency keys without a row",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Completion	completion = {.status = KEY_COMPLETED};
	HASH_SEQ_STATUS scan;
	GuardedKey *entry;
	Store		store;

	/* A key's row may have values out of line. */
	PushActiveSnapshot(GetTransactionSnapshot());
	hash_seq_init(&scan, guarded_keys);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		IdempotencyKey key = {.scope = entry->scope,.name = entry->name,.hash = entry->hash};

		CHECK_FOR_INTERRUPTS();
		if (!entry->claimed || !still_in_progress(entry, &key))
			continue;
		store_open(&store);
		complete_key(&key, &completion, &store);
		store_close(&store);
		MemoryContextReset(context);
	}
	PopActiveSnapshot();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (guarded_keys != NULL && hash_get_num_entries(guarded_keys) > 0)
				complete_rowless_keys();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			/* The memory goes with the transaction's. */
			guarded_keys = NULL;
			break;
		default:
			break;
	}
}

static void
begin_guarding(void)
{
	static bool registered = false;
	HASHCTL		options = {
		.keysize = sizeof(pg_uuid_t),
		.entrysize = sizeof(GuardedKey),
		.hcxt = TopTransactionContext
	};

	if (!registered)
		RegisterXactCallback(end_transaction, NULL);
	registered = true;

	/* Keys come and go first in, first out. */
	guarded_texts = GenerationContextCreate(TopTransactionContext,
											"guarded idempotency keys",
											ALLOCSET_DEFAULT_SIZES);
	guarded_keys = hash_create("guarded idempotency keys", 256, &options,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static GuardedKey *
find_guarded_key(const IdempotencyKey *key)
{
	return guarded_keys == NULL ? NULL :
		hash_search(guarded_keys, &key->hash, HASH_FIND, NULL);
}

static GuardedKey *
enter_guarded_key(const IdempotencyKey *key)
{
	GuardedKey *entry;
	bool		found;

	if (guarded_keys == NULL)
		begin_guarding();
	entry = hash_search(guarded_keys, &key->hash, HASH_ENTER, &found);
	if (!found)
	{
		entry->claimed = false;
		entry->moving = false;
	}
	return entry;
}

static text *
copy_text(const text *value)
{
	return memcpy(MemoryContextAlloc(guarded_texts, VARSIZE_ANY(value)),
				  value, VARSIZE_ANY(value));
}

static void
remember_claim(const IdempotencyKey *key, TimestampTz claimed_at)
{
	GuardedKey *entry = enter_guarded_key(key);

	/* The claim of an earlier entry was rolled back to a savepoint. */
	if (!entry->claimed)
	{
		entry->scope = copy_text(key->scope);
		entry->name = copy_text(key->name);
	}
	entry->claimed = true;
	entry->moving = false;
	entry->claimed_at = claimed_at;
}

static void
forget_guarded_key(GuardedKey *entry)
{
	if (entry->claimed)
	{
		pfree(entry->scope);
		pfree(entry->name);
	}
	(void) hash_search(guarded_keys, &entry->hash, HASH_REMOVE, NULL);
}

/* ----------------------------------------------------------------
 *		Rows that move between partitions
 * ----------------------------------------------------------------
 */

static void
end_deleting_statement(void *guard)
{
	dlist_delete(&((Guard *) guard)->statement);
}

/* Have the guard on the list for as long as its memory lives. */
static void
begin_deleting_statement(Guard *guard, MemoryContext context)
{
	MemoryContextCallback *callback;

	callback = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));
	callback->func = end_deleting_statement;
	callback->arg = guard;
	dlist_push_head(&deleting_statements, &guard->statement);
	MemoryContextRegisterResetCallback(context, callback);
}

static bool
was_just_deleted(const IdempotencyKey *key)
{
	dlist_iter	iter;

	dlist_foreach(iter, &deleting_statements)
	{
		Guard	   *guard = dlist_container(Guard, statement, iter.cur);

		if (guard->has_deleted &&
			memcmp(&guard->deleted, &key->hash, sizeof(pg_uuid_t)) == 0)
		{
			guard->has_deleted = false;
			return true;
		}
	}
	return false;
}

/* Whether the running command has moved a row with this key out of the table. */
static bool
holds_moved_row(Relation relation, const char *key_column, const text *name)
{
	TupleDesc	desc = RelationGetDescr(relation);
	ColumnText *column = column_text_for(desc, get_attnum(RelationGetRelid(relation), key_column),
										 CurrentMemoryContext);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "idempotency row that moves",
												  ALLOCSET_DEFAULT_SIZES);
	CommandId	command = GetActiveSnapshot()->curcid;
	TableScanDesc scan = begin_table_scan(relation, SnapshotAny);
	HeapTuple	tuple;
	bool		found = false;

	while (!found && (tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		HeapTupleHeader header = tuple->t_data;

		CHECK_FOR_INTERRUPTS();
		if (HeapTupleHeaderIndicatesMovedPartitions(header) &&
			TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(header)) &&
			HeapTupleHeaderGetCmax(header) >= command)
		{
			MemoryContext caller = MemoryContextSwitchTo(context);
			text	   *moved = column_text(column, tuple, desc);

			found = moved != NULL && same_text(moved, name);
			MemoryContextSwitchTo(caller);
			MemoryContextReset(context);
		}
	}
	table_endscan(scan);
	MemoryContextDelete(context);
	return found;
}

/* Look for the moved row in the other partitions that are written to. */
static bool
comes_from_other_partition(const Guard *guard, const TriggerData *trigger,
						   const IdempotencyKey *key)
{
	List	   *partitions = find_all_inheritors(guard->table.root, NoLock, NULL);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, partitions)
	{
		Oid			relid = lfirst_oid(lc);
		LOCKTAG		tag;
		Relation	relation;

		SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
		if (found || relid == RelationGetRelid(trigger->tg_relation) ||
			!LOCK_IS_HELD(&tag, RowExclusiveLock))
			continue;
		relation = table_open(relid, NoLock);
		if (relation->rd_rel->relam == HEAP_TABLE_AM_OID)
			found = holds_moved_row(relation, trigger->tg_trigger->tgargs[0], key->name);
		table_close(relation, NoLock);
	}
	return found;
}

/* Whether two guard triggers mean the same key: equal column and scope. */
static bool
same_key_arguments(const Trigger *a, const Trigger *b)
{
	if (a->tgnargs < 1 || b->tgnargs < 1 ||
		strcmp(a->tgargs[0], b->tgargs[0]) != 0)
		return false;
	if (a->tgnargs < 2 || b->tgnargs < 2)
		return a->tgnargs == b->tgnargs;
	return strcmp(a->tgargs[1], b->tgargs[1]) == 0;
}

/* Whether the table has the BEFORE DELETE trigger that belongs to this one. */
static bool
deletions_are_watched(const TriggerData *trigger)
{
	const TriggerDesc *triggers = trigger->tg_relation->trigdesc;

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		const Trigger *other = &triggers->triggers[i];

		if (other->tgfoid == trigger->tg_trigger->tgfoid &&
			TRIGGER_TYPE_MATCHES(other->tgtype, TRIGGER_TYPE_ROW,
								 TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_DELETE) &&
			other->tgenabled == trigger->tg_trigger->tgenabled &&
			same_key_arguments(other, trigger->tg_trigger))
			return true;
	}
	return false;
}

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
		enter_guarded_key(&claim.key)->moving = true;
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
	if (in_partition && !deletions_are_watched(trigger) &&
		comes_from_other_partition(guard, trigger, &claim.key))
	{
		enter_guarded_key(&claim.key)->moving = true;
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
		entry->moving = false;
		if (!entry->claimed)
			forget_guarded_key(entry);
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
watch_deletion(Guard *guard, const TriggerData *trigger)
{
	text	   *name = name_in_row(guard, trigger);
	IdempotencyKey key;

	guard->has_deleted = name != NULL;
	if (guard->has_deleted)
	{
		make_key(&key, name, guard->table.scope);
		guard->deleted = key.hash;
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
		begin_deleting_statement(guard, context);
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
		watch_deletion(guard, trigger);
	else if (TRIGGER_FIRED_AFTER(trigger->tg_event))
		complete_row(guard, trigger);
	else if (!claim_row(guard, trigger))
		PG_RETURN_POINTER(NULL);
	PG_RETURN_POINTER(trigger->tg_trigtuple);
}
