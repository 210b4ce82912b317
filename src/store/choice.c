/*-------------------------------------------------------------------------
 *
 * choice.c
 *	  Which of the two stores is in use.
 *
 * The distributed one where distribute() has made its table, else the local
 * one, unless the setting idempotency.store names one of them.
 *
 * Claims are refused where Citus knows of another node, unless the store is a table
 * that Citus distributes: a key would be stored on the node that is asked, so that
 * three nodes would let the same key in three times, and it would not commit
 * together with rows that are elsewhere.  So they are where distribute() was not
 * called, and where its table came from a dump or undistribute_table(); a node that
 * is being drained counts, and so does one that is disabled and has placements.  What
 * is stored can be read and removed all the same.  The setting "local" lets the
 * local store be used by who knows.
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

typedef struct Choice
{
	const StoreMethods *methods;	/* NULL: not chosen yet */
	bool		refuses_claims;
	uint64		generation;
	int			by;
} Choice;

static Choice chosen;

static bool
is_distributed_by_citus(Oid table)
{
	CitusTable	citus;

	describe_citus_table(&citus, table);
	return citus.distribution_column != NULL;
}

static void
choose_store(Choice *choice)
{
	Oid			table = objects()->distributed_keys;
	bool		distributed = OidIsValid(table) && store_setting != STORE_LOCAL;

	if (store_setting == STORE_DISTRIBUTED && !distributed)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no distributed store of idempotency keys"),
				 errdetail("The setting idempotency.store is \"distributed\", and the table \"idempotency.%s\" does not exist.",
						   DISTRIBUTED_KEYS),
				 errhint("Call idempotency.distribute() to make it, or set idempotency.store to \"auto\".")));
	choice->methods = distributed ? &distributed_store : &local_store;
	choice->refuses_claims = store_setting != STORE_LOCAL && citus_has_other_nodes() &&
		!(distributed && is_distributed_by_citus(table));
}

static inline const Choice *
store_in_use(void)
{
	if (chosen.methods == NULL || chosen.generation != objects_generation() ||
		chosen.by != store_setting)
	{
		/* A message that arrives meanwhile makes the next call choose again. */
		Choice		choice = {.generation = objects_generation(),.by = store_setting};

		choose_store(&choice);
		chosen = choice;
	}
	return &chosen;
}

void
store_open(Store *store)
{
	store_open_local(store);
	store->methods = store_in_use()->methods;
}

void
check_claims_admitted(void)
{
	const Choice *choice = store_in_use();

	if (!choice->refuses_claims)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("idempotency keys can't be stored on one node of a Citus cluster"),
			 errdetail("The cluster has several nodes: each would let the same key in, and none could commit a key together with rows of another."),
			 choice->methods == &distributed_store ?
			 errhint("Distribute the table \"idempotency.%s\" by create_distributed_table(), by its column tenant and colocated with the rows that the keys protect.",
					 DISTRIBUTED_KEYS) :
			 errhint("Call idempotency.distribute() with the table whose rows the keys protect. Set idempotency.store to \"local\" where all work is done on this node and none of its rows are distributed.")));
}

void
check_store_in_use(const Store *store)
{
	if (store->methods != store_in_use()->methods)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("idempotency keys are stored elsewhere since a moment ago"),
				 errdetail("idempotency.distribute() has been committed meanwhile."),
				 errhint("Retry the transaction.")));
}
