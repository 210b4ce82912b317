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
 * storage since has other rows at these places, or none.  They hold until a
 * subtransaction aborts: its locks are released, and VACUUM may cut off the
 * page with its row; no message announces this.
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

static void
end_subtransaction(SubXactEvent event, SubTransactionId subtransaction,
				   SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		generation = 0;			/* that of no table */
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
	place->xid = GetTopTransactionIdIfAny();
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
