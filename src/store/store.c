/*-------------------------------------------------------------------------
 *
 * store.c
 *	  Functions for both stores: opening the one in use, and expiry.
 *
 * A round of expiry works on both: after distribute() the wheel of the local
 * store continues to turn.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/choice.h"
#include "store/store.h"

void
store_open(Store *store)
{
	store->methods = distributed_store_in_use() ? &distributed_store : &local_store;
	leaves_init(&store->leaves);
}

void
store_begin_expiry(Expiry *expiry, int64 max_rows)
{
	memset(expiry, 0, sizeof(*expiry));
	expiry->rows_left = max_rows;
	local_begin_expiry(&expiry->local, max_rows);
}

bool
store_expire(Expiry *expiry)
{
	return local_store.expire(expiry) || distributed_store.expire(expiry);
}
