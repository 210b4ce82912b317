/*-------------------------------------------------------------------------
 *
 * place.c
 *	  The places of the rows that the current transaction has written.
 *
 * With the place a completion in the claim's transaction finds the row without the
 * index.  The places of 4,096 keys are remembered, because of batches.  If keys
 * share an entry, it is that of the key written last.
 *
 * All entries are for one generation of the tables: a table that has got new
 * storage since has other rows at these places, or none.
 *
 * When a subtransaction aborts, the places of the rows that were written in it
 * are forgotten: its locks are released, and VACUUM may cut off the page with
 * such a row; no message announces this.  The rows were written by
 * subtransactions whose number is not lower than its own: whatever began after
 * it began inside it.  The other rows and the locks of their tables stay.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "objects.h"
#include "store/local/place.h"

#define PLACES	4096

static Place places[PLACES];
static uint64 generation;

/* No valid place is of a subtransaction with a higher number. */
static SubTransactionId last_subtransaction;

static void
end_subtransaction(SubXactEvent event, SubTransactionId subtransaction,
				   SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB || last_subtransaction < subtransaction)
		return;
	for (int number = 0; number < PLACES; number++)
	{
		if (places[number].subtransaction >= subtransaction)
			places[number].xid = InvalidTransactionId;
	}
	last_subtransaction = subtransaction - 1;
}

void
remember_place(const IdempotencyKey *key, int leaf, const ItemPointerData *tid)
{
	static bool registered = false;
	uint64		bits = key_lock_bits(&key->hash);
	Place	   *place = &places[bits % PLACES];

	if (!registered)
		RegisterSubXactCallback(end_subtransaction, NULL);
	registered = true;
	if (generation != objects_generation())
	{
		memset(places, 0, sizeof(places));
		generation = objects_generation();
	}
	last_subtransaction = Max(last_subtransaction, GetCurrentSubTransactionId());
	place->xid = GetTopTransactionIdIfAny();
	place->subtransaction = GetCurrentSubTransactionId();
	place->hash = bits >> 32;
	place->tid = *tid;
	place->leaf = leaf;
}

static bool
is_valid(const Place *place)
{
	return TransactionIdIsValid(place->xid) &&
		TransactionIdEquals(place->xid, GetTopTransactionIdIfAny()) &&
		generation == objects_generation();
}

const Place *
place_of(const IdempotencyKey *key)
{
	uint64		bits = key_lock_bits(&key->hash);
	const Place *place = &places[bits % PLACES];

	return is_valid(place) && place->hash == bits >> 32 ? place : NULL;
}

const Place *
next_place(int *position)
{
	while (*position < PLACES)
	{
		const Place *place = &places[(*position)++];

		if (is_valid(place))
			return place;
	}
	return NULL;
}
