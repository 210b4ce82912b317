/*-------------------------------------------------------------------------
 *
 * choice.c
 *	  Which of the two stores is in use.
 *
 * The distributed one where distribute() has made its table, else the local
 * one, unless the setting idempotency.store names one of them.
 *
 * The local store is refused where Citus spreads rows over several nodes: a key
 * would be stored on the node that is asked, so that three nodes would let the
 * same key in three times, and it would not commit together with rows that are
 * elsewhere.  The setting "local" lets it be used all the same.
 *
 * A backend chooses once, and again when a message says that one of the tables
 * that it looked at has changed.  Two sessions, A choosing the local store while
 * B runs distribute():
 *
 *		- A has written its row and not ended: B waits for A's locks on the
 *		  leaves, and refuses because of A's row.
 *		- A has chosen, and not locked a leaf: A waits for B's locks.  With the
 *		  lock of a leaf A accepts the message of B's new table, and the check
 *		  before the write ends A: check_store_in_use().
 *
 * Likewise for undistribute(), only that A finds the table gone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/citus.h"
#include "guc.h"
#include "store/store.h"

static const StoreMethods *chosen = NULL;
static uint64 chosen_generation;
static int	chosen_by;

static const StoreMethods *
choose_store(void)
{
	bool		distributed = OidIsValid(objects()->distributed_keys);

	if (store_setting == STORE_LOCAL)
		return &local_store;
	if (distributed)
		return &distributed_store;
	if (store_setting == STORE_DISTRIBUTED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no distributed store of idempotency keys"),
				 errdetail("The setting idempotency.store is \"distributed\", and the table \"idempotency.%s\" does not exist.",
						   DISTRIBUTED_KEYS),
				 errhint("Call idempotency.distribute() to make it, or set idempotency.store to \"auto\".")));
	if (citus_nodes_with_shards() > 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("idempotency keys can't be stored on one node of a Citus cluster"),
				 errdetail("Several nodes hold shards: each would let the same key in, and none could commit a key together with rows of another."),
				 errhint("Call idempotency.distribute() with the table whose rows the keys protect. Set idempotency.store to \"local\" where all work is done on this node and none of its rows are distributed.")));
	return &local_store;
}

static inline const StoreMethods *
store_in_use(void)
{
	if (chosen == NULL || chosen_generation != objects_generation() ||
		chosen_by != store_setting)
	{
		/* A message that arrives meanwhile makes the next call choose again. */
		uint64		seen = objects_generation();

		chosen = choose_store();
		chosen_generation = seen;
		chosen_by = store_setting;
	}
	return chosen;
}

void
store_open(Store *store)
{
	store_open_local(store);
	store->methods = store_in_use();
}

void
check_store_in_use(const Store *store)
{
	if (store->methods != store_in_use())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("idempotency keys are stored elsewhere since a moment ago"),
				 errdetail("idempotency.distribute() has been committed meanwhile."),
				 errhint("Retry the transaction.")));
}
