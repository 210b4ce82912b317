/*-------------------------------------------------------------------------
 *
 * guard_keys.c
 *	  The keys between the guard's two triggers.
 *
 * AFTER triggers fire when the statement ends, so the keys of many rows may be
 * in progress at once, and something may come between a claim and its
 * completion.  The keys that the guard has claimed in this transaction and not
 * completed are therefore kept in a table of the backend, one entry for each,
 * of some 200 bytes, as long as the statement that inserts the row runs:
 *
 *		- Two rows of one statement have the same key (INSERT of many rows,
 *		  COPY): the second row's claim is answered "in progress" by our own
 *		  transaction.  The entry says that the claim is the guard's, so the
 *		  second row is a duplicate.
 *		- The application has called claim() for the same scope and key in this
 *		  transaction: there is no entry, and the row is no duplicate.
 *		- The claim is made and the row does not go in: ON CONFLICT DO NOTHING
 *		  met a conflict, DO UPDATE changed another row in its place, or
 *		  a later BEFORE trigger dropped it.  No AFTER INSERT trigger fires.
 *		  The statement has run all the same, and a retry of DO UPDATE would
 *		  update twice, so the key must not become free again.  What is left
 *		  when the transaction is about to commit is completed without a
 *		  resource and without a response: a retry is a duplicate.  Deferred
 *		  triggers have fired by then.
 *		- A savepoint is rolled back between the two: the claim is gone, and
 *		  the entry with nothing behind it does no harm, because the time of
 *		  the claim is compared before an entry is believed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "complete.h"
#include "guard_keys.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* The keys of the current transaction; NULL where there are none. */
static HTAB *guarded_keys = NULL;
static MemoryContext guarded_texts;

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

GuardedKey *
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

void
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

void
forget_guarded_key(GuardedKey *entry)
{
	if (entry->claimed)
	{
		pfree(entry->scope);
		pfree(entry->name);
	}
	(void) hash_search(guarded_keys, &entry->hash, HASH_REMOVE, NULL);
}

void
remember_move(const IdempotencyKey *key)
{
	enter_guarded_key(key)->moving = true;
}

void
forget_move(GuardedKey *entry)
{
	entry->moving = false;
	if (!entry->claimed)
		forget_guarded_key(entry);
}
