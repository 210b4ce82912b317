/*-------------------------------------------------------------------------
 *
 * keylock.c
 *	  The lock of a key.
 *
 * The lock is an advisory lock of our own class, named by 64 bits of the key's
 * hash.  A transaction that writes a row of the key holds the lock from before
 * the probe on which the write relies until the row is written, and no longer:
 * from then on the uncommitted row itself protects the key.  So a lock is held
 * for a moment only, except by a claim that is written with its result
 * (deferred.c), of which a transaction has a bounded number.  Other sessions
 * wait for the end of the transaction, not for the lock.
 *
 * Keys that share the 64 bits only delay each other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "store/keylock.h"
#include "utils/resowner.h"

/*
 * A claim that is not to wait must not mistake a session that holds the lock
 * for a moment, as forget() of an absent key does, for the owner.  So it waits
 * for that moment.
 */
#define MOMENT_MS	100

static void
keylock_tag(LOCKTAG *tag, const IdempotencyKey *key)
{
	uint64		bits = key_lock_bits(&key->hash);

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (bits >> 32), (uint32) bits, KEYLOCK_CLASS);
}

bool
keylock_try(const IdempotencyKey *key)
{
	ResourceOwner caller = CurrentResourceOwner;
	LOCKTAG		tag;
	bool		acquired;

	keylock_tag(&tag, key);
	CurrentResourceOwner = CurTransactionResourceOwner;
	acquired = LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
	CurrentResourceOwner = caller;
	return acquired;
}

bool
keylock_wait(const IdempotencyKey *key, const WaitLimit *limit, StatsEntry *stats)
{
	LOCKTAG		tag;

	keylock_tag(&tag, key);
	return wait_for_lock(&tag, ExclusiveLock, limit, MOMENT_MS, stats);
}

void
keylock_release(const IdempotencyKey *key)
{
	LOCKTAG		tag;
	ResourceOwner owner = CurrentResourceOwner;

	keylock_tag(&tag, key);
	CurrentResourceOwner = CurTransactionResourceOwner;
	if (!LockRelease(&tag, ExclusiveLock, false))
		elog(ERROR, "lock of idempotency key is not held");
	CurrentResourceOwner = owner;
}

/*
 * Waiters of a key are counted by share locks of a class of their own: the
 * lock manager knows how many are held, they are released with their
 * transactions, and a claim that does not wait takes none.
 */
static void
waiters_tag(LOCKTAG *tag, const IdempotencyKey *key)
{
	keylock_tag(tag, key);
	tag->locktag_field4 = WAITERS_CLASS;
}

bool
keylock_join_waiters(const IdempotencyKey *key)
{
	ResourceOwner caller = CurrentResourceOwner;
	LOCKTAG		tag;

	waiters_tag(&tag, key);
	if (LockWaiterCount(&tag) >= max_waiters)
		return false;
	CurrentResourceOwner = CurTransactionResourceOwner;
	(void) LockAcquire(&tag, ShareLock, false, false);
	CurrentResourceOwner = caller;
	return true;
}

void
keylock_leave_waiters(const IdempotencyKey *key)
{
	ResourceOwner caller = CurrentResourceOwner;
	LOCKTAG		tag;

	waiters_tag(&tag, key);
	CurrentResourceOwner = CurTransactionResourceOwner;
	(void) LockRelease(&tag, ShareLock, false);
	CurrentResourceOwner = caller;
}
