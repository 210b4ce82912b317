/*-------------------------------------------------------------------------
 *
 * hold.c
 *	  A key under its lock, while no other transaction works on it.
 *
 * For functions that change a row in any state.  They need the latest version,
 * so they wait for a transaction in progress that has written one.  The lock
 * is released before the wait and taken again after it, and the earlier probe
 * is discarded.  The distributed store has no such lock: there, probing for
 * update is a write, which waits by itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "store/hold.h"
#include "miscadmin.h"
#include "interval.h"

bool
hold_key_within(HeldKey *held, const IdempotencyKey *key, Store *store,
				const WaitLimit *limit)
{
	check_known_key_length(key);
	held->key = *key;
	held->store = store;
	policy_of_scope(&held->policy, key->scope);
	for (;;)
	{
		Probe		probe;

		CHECK_FOR_INTERRUPTS();
		if (!store_try_lock(store, key))
		{
			store_close(store);
			if (!store_lock(store, key, limit, held->policy.stats))
				return false;
		}
		held->now = GetCurrentTimestamp();
		store_refresh(store);
		if (!store_probe_for_update(store, key, held->now,
									time_after(held->now, &held->policy.ttl),
									limit, held->policy.stats, &probe))
			return false;
		if (!TransactionIdIsValid(probe.writer))
		{
			held->found = probe.found;
			held->row = probe.row;
			return true;
		}
		store_unlock(store, key);
		store_close(store);
		if (!wait_for_transaction(probe.writer, limit, held->policy.stats))
			return false;
	}
}

void
hold_key(HeldKey *held, const IdempotencyKey *key, Store *store)
{
	WaitLimit	unlimited;

	wait_unlimited(&unlimited);
	(void) hold_key_within(held, key, store, &unlimited);
}

void
write_held_key(HeldKey *held)
{
	WaitLimit	unlimited;

	wait_unlimited(&unlimited);
	if (store_write(held->store, &held->key, &held->row, &unlimited,
					held->policy.stats) != WRITE_DONE)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("idempotency key \"%s\" is stored already",
						key_in_message(held->key.name)),
				 errdetail("Its row was inserted or deleted by hand."),
				 errhint("Retry the transaction.")));
	unlock_held_key(held);
}

void
unlock_held_key(const HeldKey *held)
{
	store_unlock(held->store, &held->key);
}
