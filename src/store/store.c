/*-------------------------------------------------------------------------
 *
 * store.c
 *	  Opening the store that is in use.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/choice.h"
#include "store/store.h"

void
store_open(Store *store)
{
	store_open_local(store);
	if (distributed_store_in_use())
		store->methods = &distributed_store;
}

void
store_open_local(Store *store)
{
	store->methods = &local_store;
	leaves_init(&store->leaves);
}
