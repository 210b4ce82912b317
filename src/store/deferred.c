/*-------------------------------------------------------------------------
 *
 * deferred.c
 *	  The claim of a command that runs, before it is written.
 *
 * execute() knows the result of its claim when its command returns.  So it
 * writes one row version, the completed one, in place of a claim and an update
 * of it.  While the command runs there is no row; the key's lock, which
 * execute() holds on to, is the guard:
 *
 *		execute(K) of session A				claim(K) of session B
 *		lock K, probe: nothing
 *		run the command						probe: nothing
 *											lock K: taken; wait as long as the
 *											  limit allows, or answer
 *											  "in progress"
 *		write the row, let go of K			lock K, probe: A's row, not
 *											  committed; wait for A's end
 *		commit								probe: the result
 *
 * Where A's command fails, the subtransaction or transaction that is rolled
 * back lets go of the lock, and B finds nothing.  A crash leaves nothing.
 *
 * The lock doesn't keep its own holder out.  The command may itself claim K,
 * complete it, or look it up.  For this backend the claim that was deferred
 * therefore counts as found wherever nothing is stored under its key
 * (store_probe); what is written then is a row like any other, and if that is
 * rolled back, the claim counts again.  A backend puts off one claim at a time:
 * the command that is called by a command writes its claim at once.
 *
 * Operators are to see who holds a key, and pg_locks shows but 64 bits of its
 * hash.  So each backend tells the claim in an entry of its own in shared
 * memory, which only a library that is loaded with the server can ask for;
 * without it, and where scope or key are too long for the entry, no claim is
 * deferred.  An entry counts as long as its transaction runs: a backend that
 * dies needs not tidy up.  Its spinlock is held for copying it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "miscadmin.h"
#include "store/deferred.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"

#define TEXT_SIZE	256

typedef struct DeferredEntry
{
	slock_t		lock;
	Oid			database;
	TransactionId xid;			/* InvalidTransactionId: no claim */
	int32		attempt;
	TimestampTz claimed_at;
	TimestampTz lease_until;
	int			scope_length;
	int			name_length;
	char		scope[TEXT_SIZE];
	char		name[TEXT_SIZE];
} DeferredEntry;

/* One for each backend. */
static DeferredEntry *entries = NULL;
static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* The claim that this backend has deferred. */
static const IdempotencyKey *deferred_key = NULL;
static const KeyRow *deferred_claim;
static bool touched;

static Size
entries_size(void)
{
	return mul_size(sizeof(DeferredEntry), MaxBackends);
}

static void
request_memory(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(entries_size());
}

static void
make_entries(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	entries = ShmemInitStruct("idempotency deferred claims", entries_size(), &found);
	if (!found)
	{
		memset(entries, 0, entries_size());
		for (int i = 0; i < MaxBackends; i++)
			SpinLockInit(&entries[i].lock);
	}
	LWLockRelease(AddinShmemInitLock);
}

void
share_deferred_claims(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = make_entries;
}

bool
deferred_possible(const IdempotencyKey *key)
{
	return entries != NULL && deferred_key == NULL &&
		VARSIZE_ANY_EXHDR(key->scope) <= TEXT_SIZE &&
		VARSIZE_ANY_EXHDR(key->name) <= TEXT_SIZE;
}

void
deferred_begin(const IdempotencyKey *key, const KeyRow *row)
{
	DeferredEntry *entry = &entries[BACKEND_NUMBER];
	TransactionId xid = GetTopTransactionId();

	SpinLockAcquire(&entry->lock);
	entry->database = MyDatabaseId;
	entry->xid = xid;
	entry->attempt = row->attempt;
	entry->claimed_at = row->claimed_at;
	entry->lease_until = row->lease_until;
	entry->scope_length = VARSIZE_ANY_EXHDR(key->scope);
	entry->name_length = VARSIZE_ANY_EXHDR(key->name);
	memcpy(entry->scope, VARDATA_ANY(key->scope), entry->scope_length);
	memcpy(entry->name, VARDATA_ANY(key->name), entry->name_length);
	SpinLockRelease(&entry->lock);
	deferred_key = key;
	deferred_claim = row;
	touched = false;
}

void
deferred_end(void)
{
	DeferredEntry *entry = &entries[BACKEND_NUMBER];

	deferred_key = NULL;
	SpinLockAcquire(&entry->lock);
	entry->xid = InvalidTransactionId;
	SpinLockRelease(&entry->lock);
}

static bool
is_deferred(const IdempotencyKey *key)
{
	return deferred_key != NULL && same_key(deferred_key, key);
}

bool
deferred_row(const IdempotencyKey *key, KeyRow *row)
{
	if (!is_deferred(key))
		return false;
	*row = *deferred_claim;
	return true;
}

bool
deferred_untouched(const IdempotencyKey *key)
{
	return is_deferred(key) && !touched;
}

void
deferred_touch(const IdempotencyKey *key)
{
	if (is_deferred(key))
		touched = true;
}

bool
deferred_next(int *position, IdempotencyKey *key, KeyRow *row)
{
	while (entries != NULL && *position < MaxBackends)
	{
		DeferredEntry *entry = &entries[(*position)++];
		DeferredEntry copy;

		SpinLockAcquire(&entry->lock);
		copy = *entry;
		SpinLockRelease(&entry->lock);
		if (copy.database != MyDatabaseId || !TransactionIdIsValid(copy.xid) ||
			!TransactionIdIsInProgress(copy.xid))
			continue;
		row->claim_xid = copy.xid;
		row->attempt = copy.attempt;
		row->claimed_at = copy.claimed_at;
		row->lease_until = copy.lease_until;
		key->scope = cstring_to_text_with_len(copy.scope, copy.scope_length);
		key->name = cstring_to_text_with_len(copy.name, copy.name_length);
		return true;
	}
	return false;
}
