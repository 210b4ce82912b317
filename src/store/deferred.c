/*-------------------------------------------------------------------------
 *
 * deferred.c
 *	  Claims that are written when their result is known.
 *
 * A claim without a lease never commits before it ends (unfinished.c).  So its
 * row is written once, with the result, in place of an insertion and an
 * update.  Until then there is no row; the key's lock, which the claim hands
 * over to this file, protects the key:
 *
 *		A: claim(K)							B: claim(K)
 *		lock K, probe: nothing;
 *		  register the claim
 *		work								probe: nothing
 *											lock K: taken; the register names A's
 *											  transaction: wait for its end, or
 *											  answer "in progress"
 *		complete(K): write the row,
 *		  unlock K
 *		commit								probe: the result
 *
 * A crash leaves nothing.  A transaction defers at most MOST_DEFERRED open
 * claims at a time, so that it holds a bounded number of locks; a further one,
 * and one of a key that has a row, is written when it is made.
 *
 * Subtransactions.  A claim and its lock belong to the subtransaction that
 * made the claim (level), and pass to the parent when that subtransaction
 * commits.  An inner subtransaction may write or remove the claim (ended).
 *
 *		- The level of the claim aborts: the claim is dropped, the lock manager
 *		  releases the lock, and B, which waits for the subtransaction, claims
 *		  the key.  If A kept the claim, it would write a row without holding
 *		  the lock.
 *		- The claim is written at its own level: from then on the uncommitted
 *		  row protects the key, so the lock is released and the claim dropped.
 *		  If the level aborts, row and claim disappear together.
 *		- The claim is written by an inner level: ROLLBACK TO removes the row,
 *		  and the claim is open again.  So the lock is kept:
 *
 *			A: claim(K)
 *			   SAVEPOINT s; complete(K)		B: claim(K)
 *											lock K: taken; probe: the row of s;
 *											  wait for the end of s
 *			   ROLLBACK TO s				probe: nothing; lock K: taken; wait
 *											  for A
 *			   complete(K); commit			probe: the result
 *
 *		  When the inner level has committed into that of the claim, the lock
 *		  is no longer needed.  It is released when its place is, or by PREPARE
 *		  TRANSACTION.
 *		- The claim is removed (forget, purge), at its own level or an inner
 *		  one: as above, except that no row is stored.  The same transaction
 *		  may claim the key again meanwhile, which is another claim.
 *
 * For this backend, which its own lock does not stop, store_probe() finds an
 * open claim if nothing is stored under its key.  Functions that change the row
 * but don't end the claim, such as checkpoint(), write it as an unfinished
 * claim.
 *
 * The leaf into which the claim would be written is locked at once, as for a
 * write.  So distribute() waits, and the leaf is not emptied.
 *
 * The register.  Operators need to see which session holds a key, but pg_locks
 * shows only 64 bits of its hash.  And waiters would queue for the lock, which
 * they would get one by one long after the owner has committed, while waiters
 * of a transaction wake up together.  So each backend publishes its claims in
 * shared memory, which only a library that is loaded with the server can
 * request; without it, and if scope or key are too long, no claim is deferred.
 * An entry is valid as long as its transaction is in progress, so that a
 * backend that dies need not clean up.  A waiter that finds the lock taken
 * before the entry is there queues for the lock; when it gets the lock, it
 * finds the row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "compat.h"
#include "miscadmin.h"
#include "store/deferred.h"
#include "store/keylock.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"

#define MOST_DEFERRED		16
#define MOST_TEXT			256
#define MOST_FINGERPRINT	32

/* A claim in shared memory, for other backends. */
typedef struct RegisterEntry
{
	TransactionId xid;			/* (sub)transaction; InvalidTransactionId:
								 * free */
	TransactionId top_xid;
	pg_uuid_t	hash;
	int32		attempt;
	TimestampTz claimed_at;
	int			scope_length;
	int			name_length;
	char		scope[MOST_TEXT];
	char		name[MOST_TEXT];
} RegisterEntry;

/* The entries of one backend. */
typedef struct BackendRegister
{
	slock_t		lock;			/* held for copying an entry */
	Oid			database;
	RegisterEntry entries[MOST_DEFERRED];
} BackendRegister;

/* A claim in the memory of its own backend. */
typedef struct DeferredClaim
{
	int			level;			/* nesting level of the claim; zero: free */
	int			ended;			/* level that has written or removed it; zero:
								 * open */
	IdempotencyKey key;
	KeyRow		row;

	/* The memory that key and row point to. */
	union
	{
		text		header;
		char		data[VARHDRSZ + MOST_TEXT];
	}			scope,
				name;
	union
	{
		bytea		header;
		char		data[MOST_FINGERPRINT];
	}			fingerprint;
	Interval	ttl;
} DeferredClaim;

/* One for each backend. */
static BackendRegister *shared = NULL;
static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* The entry of a claim has the same number in this backend's register. */
static DeferredClaim claims[MOST_DEFERRED];
static int	claims_used = 0;	/* all places from here on are free */

static Size
register_size(void)
{
	return mul_size(sizeof(BackendRegister), MaxBackends);
}

static void
request_memory(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(register_size());
}

static void
make_register(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("idempotency deferred claims", register_size(), &found);
	if (!found)
	{
		memset(shared, 0, register_size());
		for (int i = 0; i < MaxBackends; i++)
			SpinLockInit(&shared[i].lock);
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
	shmem_startup_hook = make_register;
}

static void
enter_into_register(int number)
{
	const DeferredClaim *claim = &claims[number];
	BackendRegister *own = &shared[BACKEND_NUMBER];
	RegisterEntry *entry = &own->entries[number];
	TransactionId xid = GetCurrentTransactionId();
	TransactionId top_xid = GetTopTransactionId();

	SpinLockAcquire(&own->lock);
	own->database = MyDatabaseId;
	entry->xid = xid;
	entry->top_xid = top_xid;
	entry->hash = claim->key.hash;
	entry->attempt = claim->row.attempt;
	entry->claimed_at = claim->row.claimed_at;
	entry->scope_length = VARSIZE_ANY_EXHDR(claim->key.scope);
	entry->name_length = VARSIZE_ANY_EXHDR(claim->key.name);
	memcpy(entry->scope, VARDATA_ANY(claim->key.scope), entry->scope_length);
	memcpy(entry->name, VARDATA_ANY(claim->key.name), entry->name_length);
	SpinLockRelease(&own->lock);
}

/* Free the place of a claim. */
static void
drop_claim(DeferredClaim *claim)
{
	BackendRegister *own = &shared[BACKEND_NUMBER];

	claim->level = 0;
	while (claims_used > 0 && claims[claims_used - 1].level == 0)
		claims_used--;
	SpinLockAcquire(&own->lock);
	own->entries[claim - claims].xid = InvalidTransactionId;
	SpinLockRelease(&own->lock);
}

/* Drop a claim that has ended at its level, which is the current one. */
static void
release_claim(DeferredClaim *claim)
{
	IdempotencyKey key = claim->key;

	drop_claim(claim);
	keylock_release(&key);
}

/*
 * A prepared transaction keeps its locks.  A lock that protects nothing would
 * make claims of a forgotten key wait for an owner that can't be found.
 */
static void
release_ended_claims(void)
{
	for (int number = claims_used - 1; number >= 0; number--)
	{
		if (claims[number].level != 0 && claims[number].ended != 0)
			release_claim(&claims[number]);
	}
}

static void
end_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_PREPARE)
		release_ended_claims();
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_PREPARE &&
		event != XACT_EVENT_ABORT)
		return;
	while (claims_used > 0)
		drop_claim(&claims[claims_used - 1]);
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subtransaction,
				   SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (int number = claims_used - 1; number >= 0; number--)
	{
		DeferredClaim *claim = &claims[number];

		if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			if (claim->ended == level)
				claim->ended = 0;
			if (claim->level == level)
				drop_claim(claim);
		}
		else
		{
			if (claim->ended == level)
				claim->ended--;
			if (claim->level == level)
				claim->level--;
		}
	}
}

/* A free place, NULL if there is none. */
static DeferredClaim *
free_place(void)
{
	int			level = GetCurrentTransactionNestLevel();

	for (int number = 0; number < MOST_DEFERRED; number++)
	{
		DeferredClaim *claim = &claims[number];

		/* Its lock is no longer needed. */
		if (claim->level == level && claim->ended == level)
			release_claim(claim);
		if (claim->level == 0)
			return claim;
	}
	return NULL;
}

bool
deferred_possible(const IdempotencyKey *key)
{
	return shared != NULL && !IsParallelWorker() &&
		VARSIZE_ANY_EXHDR(key->scope) <= MOST_TEXT &&
		VARSIZE_ANY_EXHDR(key->name) <= MOST_TEXT &&
		free_place() != NULL;
}

static text *
copy_text(text *to, const text *from)
{
	SET_VARSIZE(to, VARHDRSZ + VARSIZE_ANY_EXHDR(from));
	memcpy(VARDATA(to), VARDATA_ANY(from), VARSIZE_ANY_EXHDR(from));
	return to;
}

void
deferred_begin(const IdempotencyKey *key, const KeyRow *row)
{
	static bool registered = false;
	DeferredClaim *claim = free_place();

	if (!registered)
	{
		RegisterXactCallback(end_transaction, NULL);
		RegisterSubXactCallback(end_subtransaction, NULL);
		registered = true;
	}
	claim->key.hash = key->hash;
	claim->key.scope = copy_text(&claim->scope.header, key->scope);
	claim->key.name = copy_text(&claim->name.header, key->name);
	claim->row = *row;
	claim->row.unfinished = keyrow_must_end(row);
	if (row->fingerprint != NULL)
	{
		Assert(VARSIZE_ANY(row->fingerprint) <= MOST_FINGERPRINT);
		claim->row.fingerprint = memcpy(&claim->fingerprint, row->fingerprint,
										VARSIZE_ANY(row->fingerprint));
	}
	if (row->ttl != NULL)
	{
		claim->ttl = *row->ttl;
		claim->row.ttl = &claim->ttl;
	}
	enter_into_register(claim - claims);
	claim->ended = 0;
	claim->level = GetCurrentTransactionNestLevel();
	claims_used = Max(claims_used, claim - claims + 1);
}

/* The open claim of a key, or NULL. */
static DeferredClaim *
find_claim(const IdempotencyKey *key)
{
	for (int number = 0; number < claims_used; number++)
	{
		DeferredClaim *claim = &claims[number];

		if (claim->level != 0 && claim->ended == 0 && same_key(&claim->key, key))
			return claim;
	}
	return NULL;
}

void
deferred_end(const IdempotencyKey *key)
{
	DeferredClaim *claim = find_claim(key);

	if (claim == NULL)
		return;
	claim->ended = GetCurrentTransactionNestLevel();
	if (claim->ended == claim->level)
		release_claim(claim);
}

bool
deferred_row(const IdempotencyKey *key, KeyRow *row)
{
	const DeferredClaim *claim = find_claim(key);

	if (claim != NULL)
		*row = claim->row;
	return claim != NULL;
}

bool
deferred_any(IdempotencyKey *key)
{
	for (int number = 0; number < claims_used; number++)
	{
		if (claims[number].level != 0 && claims[number].ended == 0)
		{
			*key = claims[number].key;
			return true;
		}
	}
	return false;
}

TransactionId
deferred_owner(const IdempotencyKey *key)
{
	for (int backend = 0; shared != NULL && backend < MaxBackends; backend++)
	{
		BackendRegister *other = &shared[backend];

		if (other->database != MyDatabaseId)
			continue;
		for (int number = 0; number < MOST_DEFERRED; number++)
		{
			RegisterEntry *entry = &other->entries[number];
			TransactionId xid = InvalidTransactionId;

			/*
			 * A first read without the lock; a match is read again under it.
			 */
			if (!TransactionIdIsValid(entry->xid) ||
				memcmp(&entry->hash, &key->hash, sizeof(pg_uuid_t)) != 0)
				continue;
			SpinLockAcquire(&other->lock);
			if (other->database == MyDatabaseId &&
				memcmp(&entry->hash, &key->hash, sizeof(pg_uuid_t)) == 0)
				xid = entry->xid;
			SpinLockRelease(&other->lock);
			if (TransactionIdIsValid(xid) && TransactionIdIsInProgress(xid))
				return xid;
		}
	}
	return InvalidTransactionId;
}

bool
deferred_next(int *position, IdempotencyKey *key, KeyRow *row)
{
	while (shared != NULL && *position < MaxBackends * MOST_DEFERRED)
	{
		BackendRegister *backend = &shared[*position / MOST_DEFERRED];
		int			number = (*position)++ % MOST_DEFERRED;
		RegisterEntry entry;
		bool		here;

		SpinLockAcquire(&backend->lock);
		here = backend->database == MyDatabaseId;
		entry = backend->entries[number];
		SpinLockRelease(&backend->lock);
		if (!here || !TransactionIdIsValid(entry.xid) ||
			!TransactionIdIsInProgress(entry.xid))
			continue;
		row->claim_xid = entry.top_xid;
		row->attempt = entry.attempt;
		row->claimed_at = entry.claimed_at;
		row->lease_until = NO_TIME;
		key->hash = entry.hash;
		key->scope = cstring_to_text_with_len(entry.scope, entry.scope_length);
		key->name = cstring_to_text_with_len(entry.name, entry.name_length);
		return true;
	}
	return false;
}
