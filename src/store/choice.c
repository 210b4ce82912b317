/*-------------------------------------------------------------------------
 *
 * choice.c
 *	  Which of the two stores is in use.
 *
 * The distributed store if distribute() has made its table, otherwise the
 * local one, unless the setting idempotency.store names one of them.
 *
 * If Citus knows of another node, claims are refused unless the store is a
 * table that Citus distributes: each node would store its own keys, so that
 * three nodes would accept the same key three times, and a key would not
 * commit together with rows on other nodes.  So claims are refused if
 * distribute() was not called, and if its table came from a dump or from
 * undistribute_table(), or was distributed without it: then each node would
 * have its own policies, too.  A node that is being drained counts, and so does one
 * that is disabled and has placements.  Stored keys can still be read and
 * removed.  The setting "local" overrides the refusal.
 *
 * A backend chooses once, and chooses again after a message that one of the
 * tables involved has changed.  Two sessions, A choosing the local store while
 * B runs distribute():
 *
 *		- A has written its row and is still in progress: B waits for A's locks
 *		  on the leaves, and then refuses because of A's row.
 *		- A has chosen, and has not locked a leaf: A waits for B's locks.  When
 *		  A gets the lock of a leaf it accepts the message about B's new table,
 *		  and the check before the write fails: check_local_store_in_use().
 *
 * The same holds for undistribute(), except that A finds the table missing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "citus.h"
#include "guc.h"
#include "objects.h"
#include "store/choice.h"

typedef struct Choice
{
	bool		distributed;
	bool		refuses_claims;
	uint64		generation;		/* 0: not chosen yet */
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
				 errhint("Call idempotency.distribute() to create it, or set idempotency.store to \"auto\".")));
	choice->distributed = distributed;
	choice->refuses_claims = store_setting != STORE_LOCAL && citus_has_other_nodes() &&
		!(distributed && OidIsValid(objects()->distributed_policy) && is_distributed_by_citus(table));
}

static inline const Choice *
store_in_use(void)
{
	if (chosen.generation != objects_generation() || chosen.by != store_setting)
	{
		/* If a message arrives meanwhile, the next call chooses again. */
		Choice		choice = {.generation = objects_generation(),.by = store_setting};

		choose_store(&choice);
		chosen = choice;
	}
	return &chosen;
}

bool
distributed_store_in_use(void)
{
	return store_in_use()->distributed;
}

void
check_claims_admitted(void)
{
	if (!store_in_use()->refuses_claims)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("idempotency keys can't be stored on one node of a Citus cluster"),
			 errdetail("The cluster has several nodes: each would accept the same key, and none could commit a key together with rows of another node."),
			 errhint("Call idempotency.distribute() with the table whose rows the keys protect. Set idempotency.store to \"local\" only if all work is done on this node and none of its rows are distributed.")));
}

void
check_local_store_in_use(void)
{
	if (store_in_use()->distributed)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the store of idempotency keys was changed concurrently"),
				 errdetail("A concurrent call of idempotency.distribute() or undistribute() has committed."),
				 errhint("Retry the transaction.")));
}
