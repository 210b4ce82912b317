/*-------------------------------------------------------------------------
 *
 * unfinished.c
 *	  Claims that must end before their transaction commits.
 *
 * A claim that asked for no lease protects its key only until the end of its
 * transaction.  If it were committed without a result, the next request would
 * run the work again.  So such a commit is refused, and the work is undone
 * with the claim.
 *
 * The claims are counted, not listed: a transaction may make any number of
 * them.  The count is exact: all functions that end a claim write or delete
 * its row through store.h, which compares the row before and after, so each
 * claim is counted down once.
 *
 * Subtransactions.  The count is for the whole transaction: a claim made at
 * one level may end at another.  Changes of a subtransaction are undone when
 * it aborts, and become its parent's when it commits:
 *
 *		claim(a)					1
 *		SAVEPOINT s					1
 *		complete(a); claim(b)		1, before s: 1
 *		claim(c)					2, before s: 1
 *		ROLLBACK TO s				1: a is unfinished again
 *
 * Only levels that change the count remember the previous one.
 *
 * The order of callbacks.  Transaction callbacks are called in reverse order
 * of registration, and one that is called earlier may commit changes that
 * can't be undone, as postgres_fdw does on its servers.  So this file
 * registers its callback again whenever the count rises from zero, and after
 * each statement that uses a foreign table while there are unfinished claims:
 * a wrapper registers its callback when a session first uses it.  (COPY into a
 * foreign table is not detected.)
 *
 * Deferred constraint triggers run before the callbacks, so a trigger may
 * complete the key of its row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "error.h"
#include "executor/executor.h"
#include "key/policy.h"
#include "nodes/parsenodes.h"
#include "stats.h"
#include "store/store.h"
#include "store/unfinished.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* A nesting level that has changed the count; in TopTransactionContext. */
typedef struct UnfinishedLevel
{
	int			nesting;
	int64		before;			/* the count when the level began */
	struct UnfinishedLevel *parent; /* the next outer such level */
} UnfinishedLevel;

static int64 unfinished = 0;
static UnfinishedLevel *innermost = NULL;
static ExecutorEnd_hook_type prev_executor_end = NULL;

static void check_finished(XactEvent event, void *arg);

/* Register the callback so that it is called before all that are registered so far. */
static void
watch_transaction(void)
{
	UnregisterXactCallback(check_finished, NULL);
	RegisterXactCallback(check_finished, NULL);
}

static bool
uses_foreign_table(const PlannedStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->rtable)
	{
		if (lfirst_node(RangeTblEntry, cell)->relkind == RELKIND_FOREIGN_TABLE)
			return true;
	}
	return false;
}

static void
end_statement(QueryDesc *query)
{
	bool		foreign = unfinished != 0 && uses_foreign_table(query->plannedstmt);

	if (prev_executor_end)
		prev_executor_end(query);
	else
		standard_ExecutorEnd(query);
	if (foreign)
		watch_transaction();
}

bool
unfinished_any(void)
{
	return unfinished != 0;
}

void
watch_statements(void)
{
	prev_executor_end = ExecutorEnd_hook;
	ExecutorEnd_hook = end_statement;
}

static void
forget_level(void)
{
	UnfinishedLevel *level = innermost;

	innermost = level->parent;
	pfree(level);
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subtransaction,
				   SubTransactionId parent, void *arg)
{
	int			nesting = GetCurrentTransactionNestLevel();

	if (innermost == NULL || innermost->nesting != nesting)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		if (unfinished == 0)
			watch_transaction();
		unfinished = innermost->before;
		forget_level();
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		/*
		 * The parent takes over the level unless it has one or is the
		 * transaction.
		 */
		UnfinishedLevel *outer = innermost->parent;

		if (nesting - 1 == 1 || (outer != NULL && outer->nesting == nesting - 1))
			forget_level();
		else
			innermost->nesting--;
	}
}

/* Make the current level remember the count with which it began. */
static void
remember_level(void)
{
	int			nesting = GetCurrentTransactionNestLevel();
	UnfinishedLevel *level;

	if (nesting == 1 || (innermost != NULL && innermost->nesting == nesting))
		return;
	level = MemoryContextAlloc(TopTransactionContext, sizeof(UnfinishedLevel));
	level->nesting = nesting;
	level->before = unfinished;
	level->parent = innermost;
	innermost = level;
}

void
unfinished_change(int64 by)
{
	static bool registered = false;

	if (!registered)
		RegisterSubXactCallback(end_subtransaction, NULL);
	registered = true;
	remember_level();
	if (unfinished == 0)
		watch_transaction();
	unfinished += by;
}

static void
refuse_commit(void)
{
	IdempotencyKey key;
	Policy		policy;
	Store		store;
	bool		known;

	PushActiveSnapshot(GetTransactionSnapshot());
	store_open(&store);
	known = store_find_unfinished(&store, &key);
	PopActiveSnapshot();
	if (!known)
		key.scope = cstring_to_text("");
	policy_of_scope(&policy, key.scope);
	stats_count(policy.stats, STATS_UNFINISHED);
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_INTERNAL)),
			 known ?
			 errmsg("claim of idempotency key \"%s\" is unfinished", key_in_message(key.name)) :
			 errmsg("a claim of an idempotency key is unfinished"),
			 errdetail_plural("%lld claim of the transaction has neither a result nor a lease, so that the transaction can't be committed and its work is undone.",
							  "%lld claims of the transaction have neither a result nor a lease, so that the transaction can't be committed and its work is undone.",
							  (unsigned long) unfinished, (long long) unfinished),
			 errhint("Claim, work and complete() belong in one transaction: look for a commit in between, by autocommit, an ORM or a framework. Only a claim with a lease can be committed before it ends.")));
}

static void
check_finished(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			/* DROP EXTENSION has removed the claims of its transaction. */
			if (unfinished != 0 && OidIsValid(get_extension_oid("idempotency", true)))
				refuse_commit();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			unfinished = 0;
			innermost = NULL;
			break;
		default:
			break;
	}
}
